/**
 * Power cuts at random moments (fault F5): the process dies and what it had not synced is lost, in part or whole, torn
 * at sectors, names of files included. A server that answered before its sync (etcd #14370), that cannot open a log
 * with a torn tail (#14098, #15069) or a directory that was cut while it was made (#16596) fails here.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { type CycleOptions, type CycleTotals, runCycles, runUntilCaught } from './cycles.js';
import { requireFaultyDisk } from './faulty-disk.js';
import { compactOften, planKvorum } from './server-life.js';

function options(t: TestContext, members: number, cycles: number, cyclesPerDirectory: number): CycleOptions {
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  return {
    plan: root => planKvorum(root, members, compactOften),
    crash: 'power-cut',
    cycles,
    cyclesPerDirectory,
    seed,
  };
}

async function cutPower(t: TestContext, cycleOptions: CycleOptions): Promise<CycleTotals> {
  const totals = await runCycles(cycleOptions);
  t.diagnostic(JSON.stringify(totals));
  return totals;
}

/** The cuts were no mere kills. */
function assertSomethingWasLost(totals: CycleTotals): void {
  assert(totals.lost + totals.torn + totals.namesLost > 0, JSON.stringify(totals));
}

test('three members lose nothing acknowledged', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const totals = await cutPower(t, options(t, 3, 20, 10));
  assert(totals.acknowledged > 0, JSON.stringify(totals));
  assertSomethingWasLost(totals);
});

test('one member alone loses nothing acknowledged', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const totals = await cutPower(t, options(t, 1, 10, 10));
  assert(totals.acknowledged > 0, JSON.stringify(totals));
  assertSomethingWasLost(totals);
});

test('R24: a new data directory survives cuts while it is made (etcd #16596)', async t => {
  if (!(await requireFaultyDisk(t))) return;
  assertSomethingWasLost(await cutPower(t, { ...options(t, 3, 10, 1), moments: 'start' }));
});

test('kvorum on a disk that lies about its syncs is caught', async t => {
  if (!(await requireFaultyDisk(t))) return;
  t.diagnostic(await runUntilCaught({ ...options(t, 3, 25, 25), lying: true }));
});
