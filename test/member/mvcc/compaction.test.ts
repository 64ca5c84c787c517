import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FINISHED_COMPACT_KEY,
  readMetaRevision,
  SCHEDULED_COMPACT_KEY,
  writeMetaRevision,
} from '../../../src/member/mvcc/storage.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { compact, fromKey, keysOf, put, range, remove, revisionOf, run } from '../../support/kv-requests.js';
import { KvSubject, subjectTerm } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { decodeMessage, type Message } from '../../support/messages.js';

function subjectOf(...operations: readonly Message[]): KvSubject<MemoryStateStore> {
  const subject = new KvSubject(new MemoryStateStore());
  for (const operation of operations) run(subject, operation);
  return subject;
}

function recordsOf({ store }: KvSubject<MemoryStateStore>): string {
  const records: string[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone) => {
    return records.push(`${main}.${sub}${tombstone ? 't' : ''}`) > 0;
  });
  return records.join(' ');
}

/** The history of the tables in the sources: k 2 put 3 put 4 delete 5 put; l 6 put 7 delete; m 8 put. */
function history(): KvSubject<MemoryStateStore> {
  return subjectOf(put('k'), put('k'), remove('k'), put('k'), put('l'), remove('l'), put('m'));
}

const kept: readonly [number, string][] = [
  [0, '2.0 3.0 4.0t 5.0 6.0 7.0t 8.0'],
  [1, '2.0 3.0 4.0t 5.0 6.0 7.0t 8.0'],
  [2, '2.0 3.0 4.0t 5.0 6.0 7.0t 8.0'],
  [3, '3.0 4.0t 5.0 6.0 7.0t 8.0'],
  [4, '4.0t 5.0 6.0 7.0t 8.0'],
  [5, '5.0 6.0 7.0t 8.0'],
  [6, '5.0 6.0 7.0t 8.0'],
  [7, '5.0 7.0t 8.0'],
  [8, '5.0 8.0'],
];

for (const recordsMax of [1, 2, 3, 1_000]) {
  test(`every revision of a history, in slices of ${recordsMax}: exactly what is not needed goes`, () => {
    for (const [revision, records] of kept) {
      const subject = history();
      compact(subject, revision);
      while (subject.applier.background(recordsMax)) {
        assert.deepEqual(keysOf(run(subject, range('\0', { range_end: fromKey }))), 'k m', 'reads go on meanwhile');
      }
      assert.equal(recordsOf(subject), records, `compacted at ${revision}`);
      subject.applier.mvcc.index.check();
      assert.equal(subject.applier.currentRevision, 8);
    }
  });
}

test('reads at the compact revision and above go on, below they fail, from the logical step on', () => {
  const subject = history();
  compact(subject, 5);
  for (const settled of [false, true]) {
    if (settled) subject.settle(1);
    const at = (revision: number): string =>
      keysOf(run(subject, range('\0', { range_end: fromKey, revision: BigInt(revision) })));
    assert.deepEqual([4, 5, 6, 7, 8, 9].map(at), ['Compacted', 'k', 'k l', 'k', 'k m', 'FutureRev']);
  }
});

test('a compaction below or at the last one, or in the future, is refused and changes nothing', () => {
  const subject = history();
  const answers = [9, 5, 5, 4, -1, 6, 6].map(revision => {
    const reply = compact(subject, revision);
    return reply !== undefined && 'error' in reply ? etcdErrorName(reply.error) : 'done';
  });
  assert.deepEqual(answers, ['FutureRev', 'done', 'Compacted', 'Compacted', 'Compacted', 'done', 'Compacted']);
  assert.equal(subject.applier.currentRevision, 8);
});

test('a delete at exactly the compact revision stays for who reads on from there (etcd #18089, #19179)', () => {
  const subject = subjectOf(put('k'), remove('k'), put('other'));
  compact(subject, 3);
  subject.settle(1);
  const { index } = subject.applier.mvcc;
  const changes = index.since(Buffer.from('k'), undefined, 3);
  assert.deepEqual(
    changes.map(({ main, tombstone }) => [main, tombstone]),
    [[3, true]],
  );
  const rebuilt = new KvSubject(subject.store);
  assert.equal(rebuilt.applier.mvcc.index.since(Buffer.from('k'), undefined, 3).length, 1);
  compact(subject, 4);
  subject.settle(1);
  assert.equal(index.find(Buffer.from('k')), -1);
  assert.equal(recordsOf(subject), '4.0');
});

test('R9: the revision survives compacting the newest delete, at every crash (etcd #17780, #16693, #6633)', () => {
  for (let steps = 0; steps < 6; steps += 1) {
    for (const committedAfter of [0, 1, 2, 3]) {
      const subject = subjectOf(put('k'), remove('k'));
      subject.store.commit();
      compact(subject, 3);
      for (let step = 0; step < steps; step += 1) {
        if (step === committedAfter) subject.store.commit();
        subject.applier.background(1);
      }
      subject.restart(subject.store.crash());
      assert.equal(subject.applier.currentRevision, 3);
      subject.settle(1);
      subject.store.commit();
      subject.restart(subject.store.crash());
      assert.equal(subject.applier.currentRevision, 3);
      assert.equal(revisionOf(run(subject, put('next'))), 4);
    }
  }
});

test('the revision of a store whose newest record an older etcd removed comes from its compaction', () => {
  const store = new MemoryStateStore();
  writeMetaRevision(store, SCHEDULED_COMPACT_KEY, 9);
  writeMetaRevision(store, FINISHED_COMPACT_KEY, 8);
  const subject = new KvSubject(store);
  assert.equal(subject.applier.currentRevision, 9);
  subject.settle(1);
  assert.equal(subject.applier.mvcc.finishedCompactRevision, 9);
  assert.equal(revisionOf(run(subject, put('next'))), 10);
});

test('a crash in the middle of a compaction: the next run ends it', () => {
  const subject = history();
  subject.store.commit();
  compact(subject, 7);
  subject.store.commit();
  subject.applier.background(2);
  subject.store.commit();
  subject.applier.background(2);
  subject.restart(subject.store.crash());
  assert.equal(recordsOf(subject), '4.0t 5.0 6.0 7.0t 8.0', 'the first slice is on disk, the second is lost');
  assert.equal(readMetaRevision(subject.store, SCHEDULED_COMPACT_KEY), 7);
  assert.equal(readMetaRevision(subject.store, FINISHED_COMPACT_KEY), undefined);
  assert.equal(subject.applier.mvcc.compactRevision, 7);
  assert.equal(keysOf(run(subject, range('k', { revision: 6n }))), 'Compacted');
  subject.settle(1);
  assert.equal(recordsOf(subject), '5.0 7.0t 8.0');
  assert.equal(readMetaRevision(subject.store, FINISHED_COMPACT_KEY), 7);
});

test('a compaction asked for while another is under way waits for it', () => {
  const subject = history();
  compact(subject, 4);
  subject.applier.background(1);
  compact(subject, 8);
  const finished: number[] = [];
  while (subject.applier.background(1)) finished.push(subject.applier.mvcc.finishedCompactRevision);
  assert.deepEqual([...new Set(finished)], [-1, 4]);
  assert.equal(subject.applier.mvcc.finishedCompactRevision, 8);
  assert.equal(recordsOf(subject), '5.0 8.0');
});

test('a physical compaction is answered when its records are gone', () => {
  const subject = history();
  const reply = compact(subject, 5, true);
  assert.deepEqual(reply, { afterCompaction: 5 });
  assert.equal(subject.applier.compacted(5), false);
  subject.settle(1);
  assert.equal(subject.applier.compacted(5), true);
  run(subject, put('later'));
  const { header } = decodeMessage('CompactionResponse', subject.applier.compactionReply(subjectTerm));
  assert.equal((header as Message).revision, 9n);
});

test('revisions and versions go on as if nothing had been compacted', () => {
  const subject = history();
  compact(subject, 8);
  subject.settle(1);
  subject.store.commit();
  for (const restarted of [false, true]) {
    if (restarted) subject.restart(subject.store.crash());
    run(subject, put('k', 'w', { prev_kv: true }));
    const [kv] = (run(subject, range('k')) as Message).kvs as Message[];
    assert.deepEqual([kv?.create_revision, kv?.version], [5n, restarted ? 3n : 2n]);
  }
});
