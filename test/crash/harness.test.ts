/**
 * The crash harness against a server that is known to be right, and against disks and servers that are known to be
 * wrong: it must accept the first and catch the others, or none of the other crash tests means anything.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { requireEtcd } from '../support/etcd.js';
import { type CycleOptions, runCycles, runUntilCaught } from './cycles.js';
import { requireFaultyDisk } from './faulty-disk.js';
import { planEtcd } from './server-life.js';

function optionsFor(t: TestContext, program: string, flags: readonly string[] = []): CycleOptions {
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  return {
    plan: root => planEtcd(root, program, flags),
    // Cut while it makes its directory, etcd 3.4 may never become ready again.
    moments: 'load',
    crash: 'power-cut',
    cycles: 8,
    cyclesPerDirectory: 8,
    seed,
  };
}

test('etcd loses nothing in power cuts', async t => {
  const etcd = await requireEtcd(t, '3.4');
  if (etcd === undefined || !(await requireFaultyDisk(t))) return;
  const totals = await runCycles(optionsFor(t, etcd.server));
  t.diagnostic(JSON.stringify(totals));
  assert(totals.acknowledged > 0 && totals.pending + totals.namesLost > 0, JSON.stringify(totals));
});

test('a disk that lies about its syncs is caught', async t => {
  const etcd = await requireEtcd(t, '3.4');
  if (etcd === undefined || !(await requireFaultyDisk(t))) return;
  t.diagnostic(await runUntilCaught({ ...optionsFor(t, etcd.server), lying: true, cycles: 25 }));
});

test('a server that does not sync is caught', async t => {
  const etcd = await requireEtcd(t, '3.5');
  if (etcd === undefined || !(await requireFaultyDisk(t))) return;
  t.diagnostic(await runUntilCaught({ ...optionsFor(t, etcd.server, ['--unsafe-no-fsync']), cycles: 25 }));
});
