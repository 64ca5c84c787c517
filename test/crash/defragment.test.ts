/**
 * Crashes of members that defragment all the time (R3, etcd #14685: the index committed, the data not): kill -9 of the
 * process and power cuts at random moments of the copy, of the switch to it and of the removal of the former state.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { type CycleOptions, runCycles } from './cycles.js';
import { requireFaultyDisk } from './faulty-disk.js';
import { defaultLoad } from './ledger-client.js';
import { compactOften, planKvorum } from './server-life.js';

function options(t: TestContext, crash: CycleOptions['crash'], members: number, cycles: number): CycleOptions {
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  return {
    plan: root => planKvorum(root, members, compactOften),
    ...{ crash, cycles, cyclesPerDirectory: cycles, seed, moments: 'load' },
    load: { ...defaultLoad, defragmentEvery: 40 },
  };
}

for (const { members, cycles } of [
  { members: 3, cycles: 8 },
  { members: 1, cycles: 4 },
]) {
  test(`R3: kill -9 while defragmenting loses nothing (etcd #14685), members: ${members}`, async t => {
    const totals = await runCycles(options(t, 'kill', members, cycles));
    t.diagnostic(JSON.stringify(totals));
    assert(totals.acknowledged > cycles, JSON.stringify(totals));
  });

  test(`R3: a power cut while defragmenting loses nothing (etcd #14685), members: ${members}`, async t => {
    if (!(await requireFaultyDisk(t))) return;
    const totals = await runCycles(options(t, 'power-cut', members, cycles));
    t.diagnostic(JSON.stringify(totals));
    assert(totals.lost + totals.torn + totals.namesLost > 0, JSON.stringify(totals));
  });
}
