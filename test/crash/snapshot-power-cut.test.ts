/**
 * The power goes at any change of a restore: there is no cluster then, or a whole one.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { memberName, peerUrl } from '../../src/host/options.js';
import { restoreSnapshot } from '../../src/host/restore.js';
import { startCluster } from '../../src/index.js';
import { ownDirectory } from '../support/server-process.js';
import { exitPowerCut, requireFaultyDisk } from './faulty-disk.js';
import { kvorumCommand, ServerLife } from './server-life.js';

const keys = 100;
const token = 'etcd-cluster';
const members = [0, 1, 2].map(at => ({ name: memberName(at), peerUrls: [peerUrl(at)] }));
/** Changes and syncs from one cut to the next. */
const stride = 32;

async function checkRestored(dataDir: string): Promise<void> {
  const cluster = await startCluster({ dataDir, logLevel: 'silent' });
  assert.equal((await cluster.client().getAll({ prefix: 'k' }, { countOnly: true })).count, keys);
  await cluster.client().put('after', 'that');
  await cluster.close();
}

test('a restore whose power is cut leaves no cluster or a whole one, and can be done again', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const root = await ownDirectory('kvorum-restore-cut-');
  t.after(root.remove);
  const file = join(root.path, 'whole.db');
  const source = await startCluster({ members: 1, logLevel: 'silent' });
  for (let at = 0; at < keys; at += 1) await source.client().put(`k${at}`, 'x'.repeat(at * 30));
  await source.snapshot(file);
  await source.close();

  let without = 0;
  let withIt = 0;
  /** One restore; whether the power went before it had ended. */
  const isCut = async (cutAt: number): Promise<boolean> => {
    const directory = join(root.path, `disk-${cutAt}`);
    mkdirSync(directory);
    const dataDir = join(directory, 'data');
    const command = [process.execPath, kvorumCommand, 'snapshot', 'restore', file, '--data-dir', dataDir];
    const plan = { name: 'restore', command, endpoints: [], directory };
    const life = await ServerLife.startOnFaultyDisk(plan, { seed: cutAt, cutAt }, join(root.path, `report-${cutAt}`));
    const { code } = await life.exited;
    assert.ok(code === 0 || code === exitPowerCut, `cut at ${cutAt}: exit ${code}: ${life.lastWords}`);
    if (existsSync(dataDir)) {
      withIt += 1;
      assert.ok(existsSync(join(dataDir, 'cluster.json')), `cut at ${cutAt}: no description`);
    } else {
      without += 1;
      assert.ok(!life.output.includes('start it with'), `cut at ${cutAt}: it said that it was done`);
      await restoreSnapshot({ file, dataDir, members, token });
    }
    await checkRestored(dataDir);
    return code !== 0;
  };

  let cut = 1;
  while (await isCut(cut)) cut += stride;
  // Closer and closer to the last change: there the directory gets its name.
  let last = cut - stride;
  for (let end = cut; end - last > 1; ) {
    const middle = (last + end) >> 1;
    if (await isCut(middle)) last = middle;
    else end = middle;
  }
  t.diagnostic(`${last} changes and syncs; ${without} cuts left no directory, ${withIt} restores left one`);
  assert.ok(without >= 5);
});
