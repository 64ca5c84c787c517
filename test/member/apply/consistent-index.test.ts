/**
 * R1 (etcd #13766, #13514, #12855: the consistent index was committed before what it stood for, and a crash in between
 * skipped entries): the applied index and the effects of its entry are on disk together or not at all.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Entry } from '../../../src/member/raft/types.js';
import { FORMAT_VERSION } from '../../../src/member/store/stamp.js';
import { StateStore } from '../../../src/member/store/state-store.js';
import { InternalField } from '../../../src/wire/internal.js';
import { encode } from '../../../src/wire/schema.js';
import { CrashPoints } from '../../support/crash-points.js';
import { fromKey, put, remove, run, txn } from '../../support/kv-requests.js';
import { applyEntry, KvSubject } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { temporaryDirectory } from '../log/support.js';

/** A turn of a member that has work all the time; every third one commits. */
const turnMs = 40;

type Stored = Pick<StateStore, 'scanRecords' | 'list' | 'appliedIndex'>;

function open(directory: string): StateStore {
  const stamp = { clusterId: 1n, memberId: 2n, formatVersion: FORMAT_VERSION };
  return StateStore.open({ directory, stamp, mapSizeBytes: 1 << 28, durable: false });
}

/** Everything that entries have made, and up to which of them. */
function contentOf(store: Stored): unknown {
  const records: string[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    return records.push(`${main}.${sub}${tombstone ? 't' : ''} ${Buffer.from(value).toString('hex')}`) > 0;
  });
  const tables = (['meta', 'lease', 'alarm'] as const).map(table =>
    store.list(table).map(pair => pair.map(bytes => Buffer.from(bytes).toString('hex')).join('=')),
  );
  return { records, tables, appliedIndex: store.appliedIndex };
}

/** Every kind of entry that changes the key space: a put, a deletion, a transaction of both, a lease and its end. */
function propose(twin: KvSubject<MemoryStateStore>): void {
  const lease = (ID: bigint) => {
    twin.propose(InternalField.LeaseGrant, encode('etcdserverpb.LeaseGrantRequest', { ID, TTL: 600n }));
    for (const key of ['x', 'y']) run(twin, put(`${key}${ID}`, 'v', { lease: ID }));
  };
  const revoke = (ID: bigint) =>
    twin.propose(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID }));
  for (let round = 1; round <= 3; round += 1) {
    run(twin, put('counter', `round ${round}`));
    lease(BigInt(round));
    run(twin, txn([put('a', 'in a transaction'), remove('counter'), put('b')]));
    if (round > 1) revoke(BigInt(round - 1));
    run(twin, remove('nothing like that'));
    run(twin, put('counter'));
  }
  run(twin, remove('a', fromKey));
  revoke(3n);
}

/** Applies what the store lacks, with commits when they are due. */
function apply(store: StateStore, log: readonly Entry[]): KvSubject<StateStore> {
  const subject = new KvSubject(store);
  let nowMs = 0;
  for (const entry of log.slice(store.appliedIndex)) {
    subject.log.push(entry);
    applyEntry(subject.applier, entry, false);
    nowMs += turnMs;
    store.commitIfDue(nowMs);
  }
  return subject;
}

test('R1: a crash at any step of applying skips no entry and repeats none (etcd #13766, #13514, #12855)', async t => {
  const root = await temporaryDirectory(t);
  const twin = new KvSubject(new MemoryStateStore());
  propose(twin);
  const { log } = twin;
  // What the store must hold once it is applied up to each entry.
  const prefixes = Array.from({ length: log.length + 1 }, (_, length) =>
    contentOf(new KvSubject(new MemoryStateStore(), {}, log.slice(0, length)).store),
  );
  const points = new CrashPoints(t);
  points.watch(t, StateStore.prototype, ['putRecord', 'put', 'delete', 'setApplied', 'commit']);
  const found = new Set<number>();
  let steps = 0;
  for (let isDone = false; !isDone; steps += 1) {
    const directory = join(root, `${steps}`);
    points.crashAfter(steps);
    isDone = await points.live(() => {
      apply(open(directory), log).store.commit();
    });
    await points.live(() => {
      const store = open(directory);
      found.add(store.appliedIndex);
      assert.deepEqual(contentOf(store), prefixes[store.appliedIndex], `after a crash at step ${steps}`);
      const subject = apply(store, log);
      assert.deepEqual(contentOf(store), prefixes[log.length], `replayed after a crash at step ${steps}`);
      assert.deepEqual(subject.hash(0), twin.hash(0));
      assert.equal(subject.applier.currentRevision, twin.applier.currentRevision);
    });
  }
  assert.ok(steps > 120 && found.size >= 8, `${steps} steps, found ${[...found].join(' ')} entries applied`);
});
