import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { hashOf, hashOfCompaction } from '../../support/kv-hash-model.js';
import { KvModel } from '../../support/kv-model.js';
import { bodyOf, compact, put, remove, run } from '../../support/kv-requests.js';
import { KvSubject } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { decodeMessage, type Message } from '../../support/messages.js';
import { generateProgram, methods } from '../../support/programs.js';

type Subject = KvSubject<MemoryStateStore>;

const writes = new Set(['Put', 'DeleteRange', 'Txn', 'Compact']);
const options = {
  undefinedSortTargets: true,
  bigValues: false,
  operationsMax: 60,
  leases: false,
  revisionsInTxns: true,
};

/** The bodies of a program's writes that the model accepts, with the model that executed them. */
function writesOf(seed: number): {
  model: KvModel;
  requests: { method: 'Put' | 'DeleteRange' | 'Txn' | 'Compact'; body: Buffer }[];
} {
  const model = new KvModel();
  const requests = generateProgram(seed, 1n, options).flatMap(({ method, request, body, local }) => {
    if (!writes.has(method) || request === undefined || local) return [];
    const write = method as 'Put' | 'DeleteRange' | 'Txn' | 'Compact';
    model.execute(write, decodeMessage(methods[write].request, body));
    return [{ method: write, body }];
  });
  return { model, requests };
}

/** Compares every readable revision; a hash with another compact revision must be that of a compaction. */
function compareAll(subject: Subject, model: KvModel): void {
  const first = Math.max(1, Number(model.compacted));
  for (let revision = first; revision <= Number(model.revision); revision += 1) {
    const found = subject.hash(revision);
    assert.ok(found !== undefined && found.revision === revision);
    if (BigInt(found.compactRevision) === model.compacted) {
      assert.equal(found.hash, hashOf(model, BigInt(revision), model.compacted), `at ${revision}`);
    } else {
      assert.equal(BigInt(revision), model.compacted, 'only the hash of the last compaction has an older limit');
      assert.equal(found.hash, hashOfCompaction(model, BigInt(revision), BigInt(found.compactRevision)));
    }
  }
}

test('random histories hash as defined, before, during and after compactions and restarts', () => {
  for (let seed = 1; seed <= 150; seed += 1) {
    const { model, requests } = writesOf(seed);
    const prng = new Prng(seed);
    const subject: Subject = new KvSubject(new MemoryStateStore());
    for (const { method, body } of requests) {
      subject.execute(method, body);
      if (prng.nextBelow(3) === 0) subject.applier.background(1 + prng.nextBelow(4));
    }
    compareAll(subject, model);
    subject.settle(2);
    compareAll(subject, model);
    subject.store.commit();
    subject.restart(subject.store.crash());
    compareAll(subject, model);
  }
});

test('members with different lives have equal hashes for equal revisions and limits', () => {
  for (let seed = 1_000; seed < 1_100; seed += 1) {
    const { model, requests } = writesOf(seed);
    const prng = new Prng(seed);
    const lazy: Subject = new KvSubject(new MemoryStateStore());
    const restless: Subject = new KvSubject(new MemoryStateStore());
    for (const { method, body } of requests) {
      lazy.execute(method, body, false);
      restless.execute(method, body);
      restless.applier.background(1 + prng.nextBelow(3));
      if (prng.nextBelow(4) === 0) restless.store.commit();
      if (prng.nextBelow(6) === 0) restless.restart(restless.store.crash());
    }
    for (let revision = Number(model.compacted) + 1; revision <= Number(model.revision); revision += 1) {
      assert.deepEqual(lazy.hash(revision), restless.hash(revision), `seed ${seed}, revision ${revision}`);
    }
  }
});

function subjectOf(...operations: readonly Message[]): Subject {
  const subject = new KvSubject(new MemoryStateStore());
  for (const operation of operations) run(subject, operation);
  return subject;
}

test('revision 0 is the newest; compacted and future ones are refused', () => {
  const subject = subjectOf(put('a'), put('b'), put('c'));
  assert.deepEqual(subject.hash(0), subject.hash(4));
  compact(subject, 3);
  const errorAt = (revision: number): string => {
    const error = subject.applier.hashKv(
      revision,
      () => 0,
      () => {},
    );
    return error === undefined ? 'none' : etcdErrorName(error);
  };
  assert.deepEqual([2, 3, 5].map(errorAt), ['Compacted', 'none', 'FutureRev']);
});

test('the hash of a compaction is kept with the limit of before, until a restart', () => {
  const subject = subjectOf(put('a'), put('a'), put('b'), remove('a'));
  const before = subject.hash(4);
  compact(subject, 4);
  subject.settle(1);
  assert.deepEqual(subject.hash(4), before);
  assert.equal(subject.hash(4)?.compactRevision, -1);
  assert.equal(subject.hash(5)?.compactRevision, 4);
  compact(subject, 5);
  subject.settle(1);
  assert.equal(subject.hash(5)?.compactRevision, 4);
  assert.equal(subject.hash(4)?.compactRevision, -1, 'also below the limit');
  subject.store.commit();
  subject.restart(subject.store.crash());
  assert.equal(subject.hash(5)?.compactRevision, 5);
  assert.equal(subject.hash(4), undefined);
});

test('a compaction that keeps nothing but a delete at its revision', () => {
  const model = new KvModel();
  const subject = subjectOf();
  for (const op of [put('a'), remove('a')]) {
    run(subject, op);
    const member = Object.keys(op)[0] === 'request_put' ? 'Put' : 'DeleteRange';
    model.execute(member, decodeMessage(`${member}Request`, bodyOf(op)));
    compact(subject, subject.applier.currentRevision);
    subject.settle(1);
  }
  assert.equal(subject.hash(3)?.compactRevision, 2);
  assert.equal(subject.hash(3)?.hash, hashOfCompaction(model, 3n, 2n));
});

test('a compaction that keeps nothing at all: at a revision that a restore has skipped', () => {
  const model = new KvModel();
  const subject = subjectOf(put('a'));
  compact(subject, 2);
  subject.settle(1);
  run(subject, remove('a'));
  for (const op of [put('a'), remove('a')]) {
    const member = Object.keys(op)[0] === 'request_put' ? 'Put' : 'DeleteRange';
    model.execute(member, decodeMessage(`${member}Request`, bodyOf(op)));
  }
  subject.store.putRecord(1_000, 0, false, Buffer.alloc(0));
  subject.store.commit();
  subject.restart(subject.store.crash());
  compact(subject, 500);
  subject.settle(1);
  assert.equal(subject.hash(500)?.compactRevision, 2);
  assert.equal(subject.hash(500)?.hash, hashOfCompaction(model, 500n, 2n));
});

test('only ten hashes are kept', () => {
  const subject = subjectOf(...Array.from({ length: 14 }, () => put('a')));
  for (let revision = 2; revision <= 13; revision += 1) {
    compact(subject, revision);
    subject.settle();
  }
  assert.equal(subject.hash(3), undefined);
  assert.equal(subject.hash(4)?.compactRevision, 3);
  assert.equal(subject.hash(13)?.compactRevision, 12);
});

test('a compaction that began before the one before it ended keeps no hash', () => {
  const subject = subjectOf(put('a'), put('a'), put('a'), put('b'));
  compact(subject, 3);
  compact(subject, 5);
  subject.settle(1);
  assert.equal(subject.hash(3)?.compactRevision, -1);
  assert.equal(subject.hash(5)?.compactRevision, 5);
});

test('a hash under way holds compaction back, and sees the records of its moment', () => {
  const subject = subjectOf(put('a'), put('a'), put('b'), put('a'));
  const expected = subject.hash(5);
  let answer: Uint8Array | undefined;
  subject.applier.hashKv(
    5,
    () => 0,
    response => {
      answer = response;
    },
  );
  subject.applier.background(1);
  compact(subject, 5);
  run(subject, put('c'));
  while (answer === undefined) subject.applier.background(1);
  assert.equal(decodeMessage('HashKVResponse', answer).hash, expected?.hash);
  assert.equal(decodeMessage('HashKVResponse', answer).compact_revision, -1n);
  assert.equal((decodeMessage('HashKVResponse', answer).header as Message).revision, 6n);
  assert.equal(subject.applier.mvcc.finishedCompactRevision, -1);
  subject.settle(1);
  assert.equal(subject.applier.mvcc.finishedCompactRevision, 5);
});
