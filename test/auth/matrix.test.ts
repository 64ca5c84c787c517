/**
 * The permission matrix: users × ranges × every call (scene.ts), asked of real etcd and of kvorum side by side. Every
 * answer has to be the same, code and text, or a listed difference.
 *
 *   KVORUM_AUTH_FAMILIES   who is compared, the reference first (default etcd-3.5,kvorum)
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CallName, calls } from '../support/calls.js';
import type { Family } from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { differences } from './differences.js';
import { Ensemble, type Request } from './ensemble.js';
import { actors, build, harmful, ofRoot, type Probe, probes, restore } from './scene.js';

const families = (process.env.KVORUM_AUTH_FAMILIES ?? 'etcd-3.5,kvorum').split(',') as Family[];
const administrators = ['root', 'deputy'];
/** More would not be read. */
const shownMax = 40;

test('users, ranges and calls: who may do what', { timeout: 120_000 }, async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  await using ensemble = await Ensemble.start(families);
  await build(ensemble);
  // With auth off nobody is asked for anything, whatever token comes along.
  ensemble.hold('anybody', 'XXXXXXXXXXXXXXXX.7');
  for (const [call, request] of probes('deleted', await restore(ensemble))) {
    if (!isAboutRoot(request)) await ensemble.ask('anybody', call, request);
  }
  await enable(ensemble);
  const asked = new Set<CallName>();
  for (const [name, enter] of Object.entries(actors)) {
    await ensemble.login('root');
    const thrones = await restore(ensemble);
    await enter(ensemble);
    const own = administrators.includes(name) ? ofRoot : harmful;
    const last: Probe = ['AuthDisable', {}];
    for (const [call, request] of [...probes(name, thrones), ...own, last]) {
      asked.add(call);
      await ensemble.ask(name, call, request);
    }
    await enable(ensemble);
  }
  t.diagnostic(`${ensemble.asked} calls`);
  for (const [known, count] of ensemble.known) t.diagnostic(`known difference "${known}": ${count} times`);
  const { length } = ensemble.differences;
  assert.equal(length, 0, `${length} differences:\n${ensemble.differences.slice(0, shownMax).join('\n')}`);
  assert.deepEqual(
    [...calls.keys()].filter(name => !asked.has(name)),
    [],
    'every call is asked',
  );
});

/** Auth is on afterwards, unless it was: then nobody may ask. */
async function enable(ensemble: Ensemble): Promise<void> {
  for (const { text } of await ensemble.ask('', 'AuthEnable', {})) {
    assert.ok(text === '' || text === 'etcdserver: user name is empty', text);
  }
}

/** With auth off root may be deleted, and then there is no way to turn it on. */
function isAboutRoot(request: Request): boolean {
  return typeof request !== 'function' && (request.name === 'root' || request.role === 'root');
}

test('every known difference has a reason', () => {
  for (const { name, reason } of differences) assert.ok(reason.length > 10, `${name} has a reason`);
});
