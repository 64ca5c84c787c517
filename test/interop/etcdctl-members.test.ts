/**
 * etcdctl's member commands against kvorum and against real etcd: what they print, and what the servers refuse.
 *
 * kvorum does not start the added members here: nobody starts them for etcd either, and what is said of members that
 * never started is half of the matter. A second addition while a voter is not started is left out: kvorum counts whether
 * a quorum is connected, as etcd does since 3.6, the releases here want all voters to be.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlSession } from '../support/control-session.js';
import { compareReleases, type Stage } from '../support/control-stage.js';
import { requireEtcd } from '../support/etcd.js';
import { startSubject } from '../support/subject.js';

const added = /Member\s+([0-9a-f]+) added/;

/** The cluster is old enough to be called healthy once the first addition succeeds. */
async function voters(stage: Stage): Promise<void> {
  const first = await stage.runUntilDone(
    added,
    'ADDED1',
    'member',
    'add',
    'newcomer',
    '--peer-urls=http://127.0.0.1:11',
  );
  for (const format of ['simple', 'json', 'table', 'fields']) await stage.run('member', 'list', '-w', format);
  await stage.run('member', 'update', first, '--peer-urls=http://127.0.0.1:12,http://127.0.0.1:13');
  await stage.run('member', 'list');
  await stage.run('member', 'update', first, '--peer-urls=http://127.0.0.1:12', '-w', 'json');
  await stage.run('member', 'promote', first);
  await stage.run('member', 'remove', first);
  await stage.run('member', 'remove', first);
  await stage.run('member', 'update', first, '--peer-urls=http://127.0.0.1:12');
  await stage.run('member', 'promote', first);
  await stage.run('member', 'list', '-w', 'json');
}

async function learners(stage: Stage): Promise<void> {
  const add = ['member', 'add', 'pupil', '--learner', '--peer-urls=http://127.0.0.1:21'];
  const learner = await stage.runUntilDone(added, 'ADDED2', ...add);
  await stage.run('member', 'list', '-w', 'fields');
  await stage.run('member', 'add', 'another', '--learner', '--peer-urls=http://127.0.0.1:22');
  await stage.run('member', 'add', 'another', '--peer-urls=http://127.0.0.1:22,http://127.0.0.1:21');
  await stage.run('member', 'promote', learner);
  await stage.run('member', 'remove', learner, '-w', 'json');
  await stage.run('member', 'promote', learner);
}

async function mistakes(stage: Stage): Promise<void> {
  await stage.run('member', 'add');
  await stage.run('member', 'add', 'nobody');
  await stage.run('member', 'add', 'nobody', '--peer-urls=127.0.0.1:41');
  await stage.run('member', 'add', 'nobody', '--peer-urls=http://127.0.0.1');
  await stage.run('member', 'add', 'nobody', '--peer-urls=http://127.0.0.1:41/path');
  await stage.run('member', 'remove');
  await stage.run('member', 'remove', 'not-hex');
  await stage.run('member', 'remove', '1234abcd');
  await stage.run('member', 'update', '1234abcd', '--peer-urls=http://127.0.0.1:41');
  await stage.run('member', 'promote', '1234abcd');
}

test('member commands, beside both releases of etcd', t =>
  compareReleases(
    t,
    ['etcd-3.5', 'kvorum'],
    { voters, learners, mistakes },
    { kvorumFlags: ['--start-added-members=false'] },
  ));

test('a member that etcdctl adds to kvorum is started, healthy, and in the list with its endpoint', async t => {
  const binaries = await requireEtcd(t, '3.5');
  if (binaries === undefined) return;
  const subject = await startSubject('kvorum', { members: 1 });
  const control = (...flags: string[]) =>
    new ControlSession(binaries.control, subject.endpoints[0] ?? '', flags, null).ended();
  try {
    const { stdout, stderr } = await control('member', 'add', 'any', '--peer-urls=http://127.0.0.1:11');
    const id = added.exec(stdout)?.[1] ?? '';
    assert.notEqual(id, '', stderr);
    const started = new RegExp(
      `^${id}, started, m2, http://127\\.0\\.0\\.1:11, http://127\\.0\\.0\\.1:\\d+, false$`,
      'm',
    );
    const deadlineMs = performance.now() + 20_000;
    for (;;) {
      const list = await control('member', 'list');
      if (started.test(list.stdout)) break;
      assert.ok(performance.now() < deadlineMs, list.stdout);
    }
    const health = await control('endpoint', 'health', '--cluster');
    assert.equal(`${health.stdout}${health.stderr}`.match(/is healthy/g)?.length, 2, health.stderr);
  } finally {
    await subject.stop();
  }
});
