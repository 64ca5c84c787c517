/**
 * A sync fails with EIO once, at a random point under load (fault F13). What it should have written will never become
 * durable, and a second sync of the same file would succeed all the same ("fsyncgate"). So the member that met the
 * error must not go on: it starts anew from what is on disk, the cluster heals, and a power cut afterwards shows that
 * nothing acknowledged rested on the lost pages.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import { type DiskEvent, requireFaultyDisk } from './faulty-disk.js';
import { Ledger } from './ledger.js';
import { defaultLoad, LedgerClient } from './ledger-client.js';
import { planKvorum, ServerLife, type ServerPlan } from './server-life.js';
import { verify } from './verify.js';

/** Syncs after which the error comes: a start of three members takes some sixty, the load's begin after that. */
const failSyncBounds = { min: 90, max: 250 } as const;
const loadAfterErrorMs = 500;
const loadMsMax = 15_000;

async function judge(ledger: Ledger, server: ServerLife): Promise<void> {
  const clients = await server.ready();
  try {
    await verify(ledger, clients);
  } finally {
    for (const client of clients) client.close();
  }
}

function hasFailed(events: readonly DiskEvent[]): boolean {
  return events.some(({ event }) => event === 'sync-failed');
}

/** Load until the error has come and some time after it. */
async function loadThroughError(ledger: Ledger, server: ServerLife, prng: Prng): Promise<void> {
  const load = new LedgerClient(ledger, server.plan.endpoints, prng, defaultLoad);
  const running = load.run();
  const giveUpAt = performance.now() + loadMsMax;
  while (!hasFailed(server.diskEvents) && performance.now() < giveUpAt) await pause(20);
  await Promise.race([pause(loadAfterErrorMs), server.exited]);
  load.stop();
  await running;
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

async function errorLife(plan: ServerPlan, ledger: Ledger, prng: Prng, report: string): Promise<readonly DiskEvent[]> {
  const { min, max } = failSyncBounds;
  const faults = { seed: prng.nextUint32(), failSyncAt: min + prng.nextBelow(max - min) };
  const server = await ServerLife.startOnFaultyDisk(plan, faults, report);
  let exited = false;
  void server.exited.then(() => {
    exited = true;
  });
  try {
    await judge(ledger, server);
    await loadThroughError(ledger, server, prng);
    // A server may also end as a whole; then the next life judges.
    if (!exited) await judge(ledger, server);
  } finally {
    await server.cutPower();
  }
  return server.diskEvents;
}

async function run(t: TestContext, members: number, lives: number): Promise<void> {
  if (!(await requireFaultyDisk(t))) return;
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const prng = new Prng(seed);
  const root = await mkdtemp(join(tmpdir(), 'kvorum-fsync-'));
  const plan = await planKvorum(root, members);
  await mkdir(plan.directory);
  const ledger = new Ledger();
  try {
    for (let life = 0; life < lives; life++) {
      const events = await errorLife(plan, ledger, prng, join(root, `events-${life}.jsonl`));
      assert(hasFailed(events), 'no sync failed: the test tested nothing');
      const retried = events.filter(({ event }) => event === 'sync-after-failure');
      assert.deepEqual(retried, [], 'a file was synced again after its sync had failed');
    }
    const last = ServerLife.start(plan);
    try {
      await judge(ledger, last);
    } finally {
      await last.terminate();
    }
  } catch (error) {
    ledger.dump(join(root, 'ledger.jsonl'));
    throw new Error(`seed ${seed}, kept in ${root}: ${String(error)}`, { cause: error });
  }
  t.diagnostic(`${ledger.history.size} writes, ${ledger.readCount} reads`);
  await rm(root, { recursive: true });
}

test('a failed sync of one of three members loses nothing', t => run(t, 3, 3));
test('a failed sync of the only member loses nothing', t => run(t, 1, 3));
