/** Apply over the real state store: what is on disk after closing, crashing and compacting is what was applied. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { Mvcc } from '../../../src/member/mvcc/mvcc.js';
import type { Entry } from '../../../src/member/raft/types.js';
import { FORMAT_VERSION } from '../../../src/member/store/stamp.js';
import { stateDirectory } from '../../../src/member/store/state-directory.js';
import { StateStore } from '../../../src/member/store/state-store.js';
import { StateExporter } from '../../../src/member/transfer/exporter.js';
import { StateImporter } from '../../../src/member/transfer/importer.js';
import { InternalField } from '../../../src/wire/internal.js';
import { encode } from '../../../src/wire/schema.js';
import { CrashPoints } from '../../support/crash-points.js';
import { compact, fromKey, keysOf, put, range, remove, revisionOf, run } from '../../support/kv-requests.js';
import { KvSubject } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { generateProgram } from '../../support/programs.js';

const options = {
  undefinedSortTargets: false,
  bigValues: false,
  operationsMax: 60,
  leases: false,
  revisionsInTxns: true,
};
let directory = '';
let opened = 0;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvorum-apply-'));
});

after(async () => {
  await rm(directory, { recursive: true });
});

function open(name: string): StateStore {
  return StateStore.open({
    directory: join(directory, name),
    stamp: { clusterId: 1n, memberId: 2n, formatVersion: FORMAT_VERSION },
    mapSizeBytes: 1 << 28,
    durable: false,
  });
}

function recordsOf(store: Pick<StateStore, 'scanRecords'>): string[] {
  const records: string[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    return records.push(`${main}.${sub}${tombstone ? 't' : ''} ${Buffer.from(value).toString('hex')}`) > 0;
  });
  return records;
}

test('programs over the real store answer as over the one in memory, and leave the same records', async () => {
  for (let seed = 1; seed <= 25; seed += 1) {
    const prng = new Prng(seed);
    const name = `program-${opened++}`;
    const subject = new KvSubject<StateStore>(open(name));
    const memory = new KvSubject(new MemoryStateStore());
    for (const { method, body, request, local } of generateProgram(seed, 1n, options)) {
      if (request === undefined || local || !['Range', 'Put', 'DeleteRange', 'Txn', 'Compact'].includes(method))
        continue;
      assert.deepEqual(subject.execute(method as 'Put', body), memory.execute(method as 'Put', body));
      subject.applier.background(1 + prng.nextBelow(3));
      const dice = prng.nextBelow(12);
      if (dice === 0) subject.store.commit();
      if (dice !== 1) continue;
      // Closing does not commit: the next run applies again what was lost.
      await subject.store.close();
      subject.restart(open(name));
    }
    subject.settle();
    memory.settle();
    assert.deepEqual(recordsOf(subject.store), recordsOf(memory.store));
    subject.store.commit();
    await subject.store.close();
    const last = open(name);
    assert.deepEqual(recordsOf(last), recordsOf(memory.store));
    await last.close();
  }
});

test('R9: a crash at any step of compacting the newest delete keeps the revision (etcd #17780, #16693, #6633)', async t => {
  const points = new CrashPoints(t);
  points.watch(t, StateStore.prototype, ['deleteRecord', 'put', 'setApplied', 'commit']);
  let steps = 0;
  for (let isDone = false; !isDone; steps += 1) {
    const name = `compaction-${opened++}`;
    const log: Entry[] = [];
    isDone = await points.live(() => {
      const subject = new KvSubject<StateStore>(open(name), {}, log);
      for (const op of [put('k'), put('k'), remove('k')]) run(subject, op);
      subject.store.commit();
      points.crashAfter(steps);
      // Scheduled, a record a slice, finished: each on disk before the next.
      compact(subject, 4);
      do subject.store.commit();
      while (subject.applier.background(1));
      subject.store.commit();
    });
    for (const start of ['first', 'second']) {
      await points.live(() => {
        const store = open(name);
        const where = `${start} start after a crash at step ${steps}`;
        assert.equal(new Mvcc(store).currentRevision, 4, `${where}, from the disk alone`);
        const subject = new KvSubject<StateStore>(store, {}, log);
        subject.settle(1);
        assert.equal(subject.applier.currentRevision, 4, where);
        assert.equal(keysOf(run(subject, range('\0', { range_end: fromKey }))), '', where);
        store.commit();
        if (start === 'first') return;
        assert.equal(recordsOf(store).length, 1, where);
        assert.equal(revisionOf(run(subject, put('next'))), 5, where);
      });
    }
  }
  assert.ok(steps > 12, `${steps} steps`);
});

test('leases, their checkpoints and their keys survive a restart and a transfer to another member', async () => {
  const name = `leases-${opened++}`;
  const subject = new KvSubject<StateStore>(open(name));
  for (const [ID, TTL] of [
    [5n, 600n],
    [-6n, 700n],
    [7n, 800n],
  ] as const) {
    subject.propose(InternalField.LeaseGrant, encode('etcdserverpb.LeaseGrantRequest', { ID, TTL }));
  }
  const checkpoints = [{ ID: 5n, remaining_TTL: 100n }];
  subject.propose(InternalField.LeaseCheckpoint, encode('etcdserverpb.LeaseCheckpointRequest', { checkpoints }));
  for (const key of ['a', 'b', 'c']) run(subject, put(key, 'v', { lease: 5n }));
  run(subject, put('b', 'v', { lease: -6n }));
  run(subject, remove('a'));
  subject.propose(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID: 7n }));
  const expected = ['5 101/600 c', '-6 701/700 b'];
  assert.deepEqual(leasesOf(subject), expected);

  subject.store.commit();
  const exporter = StateExporter.start(subject.store);
  const target = join(directory, `received-${opened++}`);
  const stamp = { clusterId: 1n, memberId: 3n, formatVersion: FORMAT_VERSION };
  const importer = new StateImporter({ directory: target, generation: 2, stamp, mapSizeBytes: 1 << 28 });
  for (let frame = exporter.next(); frame !== undefined; frame = exporter.next()) importer.write(frame);
  exporter.close();
  importer.finish();
  const store = StateStore.open({ directory: stateDirectory(target, 2), stamp, mapSizeBytes: 1 << 28, durable: false });
  const received = new KvSubject<StateStore>(store, { memberId: 3n }, [...subject.log]);
  assert.deepEqual(leasesOf(received), expected);

  await subject.store.close();
  subject.restart(open(name));
  assert.deepEqual(leasesOf(subject), expected);
  for (const member of [subject, received]) {
    member.propose(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID: 5n }));
    assert.deepEqual(leasesOf(member), ['-6 701/700 b']);
    assert.equal(keysOf(run(member, range('\0', { range_end: fromKey }))), 'b');
  }
  assert.deepEqual(received.hash(0), subject.hash(0));
  await Promise.all([subject.store.close(), store.close()]);
});

/** Every lease of a member that becomes primary: id, seconds left and granted, keys. */
function leasesOf({ applier }: KvSubject<StateStore>): string[] {
  const { lessor, mvcc } = applier;
  lessor.check();
  lessor.promote(1_000);
  return lessor.list().map(id => {
    const { remainingSeconds, grantedSeconds, slots } = lessor.timeToLive(id)!;
    const keys = slots.map(slot => Buffer.from(mvcc.index.table.key(slot)).toString());
    return `${id} ${remainingSeconds}/${grantedSeconds} ${keys.sort().join(' ')}`;
  });
}
