/** Leases through entries: answers, keys of a revocation, alarm and quota layers, and what a restart finds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { minimumLeaseTtlSeconds } from '../../../src/member/apply/applier.js';
import type { Reply } from '../../../src/member/apply/reply.js';
import { encodeLeaseRecord, leaseKey } from '../../../src/member/lease/lease-record.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { InternalField } from '../../../src/wire/internal.js';
import { decode, encode } from '../../../src/wire/schema.js';
import { compact, fromKey, keysOf, put, range, remove, run, txn } from '../../support/kv-requests.js';
import { KvSubject, type SubjectOptions, subjectClusterId, subjectTerm } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import type { Message } from '../../support/messages.js';

type Subject = KvSubject<MemoryStateStore>;

const NOSPACE = 1;
const CORRUPT = 2;

function subjectOf(options: SubjectOptions = {}): Subject {
  return new KvSubject(new MemoryStateStore(), options);
}

function errorOf(reply: Reply | undefined): string | undefined {
  return reply !== undefined && 'error' in reply ? etcdErrorName(reply.error) : undefined;
}

function grant(subject: Subject, ID: bigint, TTL = 100n): Reply | undefined {
  return subject.propose(InternalField.LeaseGrant, encode('etcdserverpb.LeaseGrantRequest', { ID, TTL }));
}

function revoke(subject: Subject, ID: bigint, wanted = true): Reply | undefined {
  return subject.propose(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID }), wanted);
}

function checkpoint(subject: Subject, ID: bigint, remaining_TTL: bigint): Reply | undefined {
  const body = encode('etcdserverpb.LeaseCheckpointRequest', { checkpoints: [{ ID, remaining_TTL }] });
  return subject.propose(InternalField.LeaseCheckpoint, body);
}

function alarm(subject: Subject, action: number, type: number): void {
  subject.propose(InternalField.Alarm, encode('etcdserverpb.AlarmRequest', { action, memberID: 0xb2n, alarm: type }));
}

function keysOfLease({ applier }: Subject, id: bigint): string {
  const keys = applier.lessor
    .slotsOf(id)
    .map(slot => Buffer.from(applier.mvcc.index.table.key(slot)).toString('latin1'));
  return keys.sort().join(' ');
}

const headerAt = (revision: bigint): unknown => ({
  cluster_id: subjectClusterId,
  member_id: 0xa1n,
  revision,
  raft_term: BigInt(subjectTerm),
});

test('grant answers with the id and the TTL given, and leaves the revision alone', () => {
  const subject = subjectOf();
  run(subject, put('a'));
  const cases: [id: bigint, asked: bigint, given: bigint][] = [
    [5n, 100n, 100n],
    [-6n, 1n, 2n],
    [7n, -(2n ** 63n), 2n],
    [2n ** 63n - 1n, 9_000_000_000n, 9_000_000_000n],
    [-(2n ** 63n), 0n, 2n],
  ];
  for (const [ID, asked, TTL] of cases) {
    const reply = grant(subject, ID, asked);
    assert.ok(reply !== undefined && 'ok' in reply);
    assert.deepEqual(decode('etcdserverpb.LeaseGrantResponse', reply.ok), { header: headerAt(2n), ID, TTL, error: '' });
  }
  const stored = cases
    .map(([id, , ttl]) => [leaseKey(id), encodeLeaseRecord({ id, ttlSeconds: Number(ttl), remainingSeconds: 0 })])
    .map(bytes => bytes.map(part => Buffer.from(part!).toString('hex')))
    .sort();
  assert.deepEqual(
    subject.store.list('lease').map(bytes => bytes.map(part => Buffer.from(part).toString('hex'))),
    stored,
  );
  assert.equal(errorOf(grant(subject, 5n)), 'LeaseExist');
  assert.equal(errorOf(grant(subject, 8n, 9_000_000_001n)), 'LeaseTtlTooLarge');
  assert.equal(errorOf(grant(subject, 5n, 9_000_000_001n)), 'LeaseTtlTooLarge', 'its TTL is looked at first');
  assert.equal(errorOf(grant(subject, 0n)), 'LeaseNotFound');
  assert.equal(subject.store.list('lease').length, cases.length);
});

test('the record of a lease is etcd’s, byte for byte', () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  assert.equal(hex(leaseKey(0x694d5765fc71500bn)), '694d5765fc71500b');
  assert.equal(hex(leaseKey(-2n)), 'fffffffffffffffe');
  assert.equal(hex(encodeLeaseRecord({ id: 300n, ttlSeconds: 60, remainingSeconds: 0 })), '08ac02103c');
  assert.equal(
    hex(encodeLeaseRecord({ id: -1n, ttlSeconds: 600, remainingSeconds: 301 })),
    '08ffffffffffffffffff0110d80418ad02',
  );
});

test('the minimum TTL is one and a half election timeouts, in whole ticks and seconds', () => {
  const cases = [
    [1000, 100, 2],
    [500, 100, 1],
    [2000, 100, 3],
    [350, 100, 1],
    [1100, 500, 2],
    [50_000, 100, 75],
  ] as const;
  for (const [electionTimeoutMs, heartbeatIntervalMs, seconds] of cases) {
    assert.equal(minimumLeaseTtlSeconds({ electionTimeoutMs, heartbeatIntervalMs }), seconds);
  }
});

test('revoke deletes the keys of the lease in their order, in one revision', () => {
  const subject = subjectOf();
  grant(subject, 5n);
  grant(subject, 6n);
  // Not in order, and neither are the slots once one is used again.
  run(subject, put('z', 'v', { lease: 6n }));
  for (const key of ['n', 'b', 'n\0', '\xff', 'a']) run(subject, put(key, 'v', { lease: 5n }));
  run(subject, put('free'));
  const changes: unknown[] = [];
  subject.applier.mvcc.listener = {
    changed: (main, sub, tombstone, slot) => {
      const key = Buffer.from(subject.applier.mvcc.index.table.key(slot)).toString('latin1');
      changes.push([main, sub, tombstone, key]);
    },
  };
  const reply = revoke(subject, 5n);
  assert.ok(reply !== undefined && 'ok' in reply);
  assert.deepEqual(decode('etcdserverpb.LeaseRevokeResponse', reply.ok), { header: headerAt(9n) });
  assert.deepEqual(
    changes,
    ['a', 'b', 'n', 'n\0', '\xff'].map((key, sub) => [9, sub, true, key]),
  );
  assert.equal(keysOf(run(subject, range('\0', { range_end: fromKey }))), 'free z');
  assert.equal(errorOf(revoke(subject, 5n)), 'LeaseNotFound');
  assert.equal(errorOf(grant(subject, 5n)), undefined, 'its id is free again');
  assert.equal(keysOfLease(subject, 5n), '');
  revoke(subject, 5n);
  assert.equal(subject.applier.currentRevision, 9, 'without keys there is no revision');
  assert.equal(revoke(subject, 6n, false), undefined);
  assert.equal(subject.applier.currentRevision, 10);
  assert.deepEqual(subject.store.list('lease'), []);
});

test('a key hangs on the lease that its newest record names', () => {
  const subject = subjectOf();
  for (const id of [5n, -6n]) grant(subject, id);
  const steps: [Message, five: string, six: string][] = [
    [put('a', 'v', { lease: 5n }), 'a', ''],
    [put('b', 'v', { lease: 5n }), 'a b', ''],
    [put('a', 'v', { lease: -6n }), 'b', 'a'],
    [put('b', 'w', { ignore_lease: true }), 'b', 'a'],
    [put('b', '', { ignore_value: true }), '', 'a'],
    [put('b', '', { ignore_value: true, lease: -6n }), '', 'a b'],
    [txn([remove('a'), put('c', 'v', { lease: 5n })]), 'c', 'b'],
    // The lease of the last operation does not exist: nothing of the transaction happens.
    [txn([put('b'), put('c'), put('d', 'v', { lease: 7n })]), 'c', 'b'],
    [txn([txn([put('b', 'v', { lease: 5n })])]), 'b c', ''],
    [remove('a'), 'b c', ''],
    [put('a', 'v', { lease: -6n }), 'b c', 'a'],
    [remove('\0', fromKey), '', ''],
  ];
  for (const [op, five, six] of steps) {
    run(subject, op);
    for (const restarted of [false, true]) {
      if (restarted) {
        subject.store.commit();
        subject.restart(subject.store.crash());
      }
      assert.deepEqual([keysOfLease(subject, 5n), keysOfLease(subject, -6n)], [five, six], JSON.stringify(op, text));
      subject.applier.lessor.check();
    }
  }
});

const text = (_name: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

test('keys whose lease a restored store lacks hang on the next one of that id, restarted or not', () => {
  const bare = subjectOf({ leases: [5n] });
  for (const key of ['b', 'a']) run(bare, put(key, 'v', { lease: 5n }));
  bare.store.delete('lease', leaseKey(5n));
  bare.store.commit();
  const subject = new KvSubject(bare.store.crash(), {}, bare.log);
  assert.equal(subject.applier.lessor.has(5n), false);
  assert.equal(errorOf(revoke(subject, 5n)), 'LeaseNotFound');
  assert.equal(typeof run(subject, put('a', 'w', { ignore_lease: true })), 'object');
  for (const restarted of [false, true]) {
    grant(subject, 5n);
    if (restarted) {
      subject.store.commit();
      subject.restart(subject.store.crash());
    }
    assert.equal(keysOfLease(subject, 5n), restarted ? '' : 'a b');
    revoke(subject, 5n);
  }
  assert.equal(keysOf(run(subject, range('\0', { range_end: fromKey }))), '');
});

test('compaction frees slots: a new key in an old slot hangs on nothing', () => {
  const subject = subjectOf();
  grant(subject, 5n);
  grant(subject, 6n);
  run(subject, put('old', 'v', { lease: 5n }));
  run(subject, remove('old'));
  run(subject, put('keep', 'v', { lease: 6n }));
  compact(subject, 4);
  subject.settle();
  const before = subject.applier.mvcc.index.size;
  run(subject, put('new'));
  assert.equal(subject.applier.mvcc.index.size, before + 1);
  assert.deepEqual([keysOfLease(subject, 5n), keysOfLease(subject, 6n)], ['', 'keep']);
  revoke(subject, 5n);
  assert.equal(keysOf(run(subject, range('\0', { range_end: fromKey }))), 'keep new');
});

test('a checkpoint is stored with the lease and counts for the next primary', () => {
  const subject = subjectOf();
  grant(subject, 5n, 600n);
  const reply = checkpoint(subject, 5n, 200n);
  assert.ok(reply !== undefined && 'ok' in reply);
  assert.deepEqual(decode('etcdserverpb.LeaseCheckpointResponse', reply.ok), { header: headerAt(1n) });
  assert.equal(errorOf(checkpoint(subject, 99n, 200n)), undefined, 'an unknown lease is nothing to complain about');
  for (const [remaining, left] of [
    [200n, 201],
    [0n, 601],
    [-1n, 601],
  ] as const) {
    checkpoint(subject, 5n, remaining);
    subject.store.commit();
    subject.restart(subject.store.crash());
    subject.applier.lessor.advance(77);
    subject.applier.lessor.promote(1_000);
    const found = subject.applier.lessor.timeToLive(5n);
    assert.deepEqual(found, { remainingSeconds: left, grantedSeconds: 600, slots: [] });
  }
});

test('NOSPACE refuses grants, CORRUPT grants and revocations; checkpoints always pass', () => {
  const subject = subjectOf();
  grant(subject, 5n);
  grant(subject, 6n);
  alarm(subject, 1, NOSPACE);
  assert.equal(errorOf(grant(subject, 7n)), 'NoSpace');
  assert.equal(errorOf(grant(subject, 5n)), 'NoSpace');
  assert.equal(errorOf(revoke(subject, 5n)), undefined);
  alarm(subject, 1, CORRUPT);
  assert.equal(errorOf(grant(subject, 7n)), 'Corrupt');
  assert.equal(errorOf(revoke(subject, 6n)), 'Corrupt');
  assert.equal(errorOf(checkpoint(subject, 6n, 50n)), undefined);
  alarm(subject, 2, CORRUPT);
  alarm(subject, 2, NOSPACE);
  assert.equal(errorOf(grant(subject, 7n)), undefined);
  assert.deepEqual(subject.applier.lessor.list(), [6n, 7n]);
});

test('a grant costs 64 bytes of the quota: beyond it, it is made on every member and refused to its client', () => {
  const subject = subjectOf({ quotaBackendBytes: 10_000 });
  subject.store.reportedSizeBytes = 10_000 - 65;
  assert.equal(subject.applier.admitsLeaseGrant(), true);
  assert.equal(errorOf(grant(subject, 5n)), undefined);
  subject.store.reportedSizeBytes += 1;
  assert.equal(subject.applier.wantsNoSpaceAlarm, false);
  assert.equal(errorOf(grant(subject, 6n)), 'NoSpace');
  assert.equal(subject.applier.lessor.has(6n), true);
  assert.equal(subject.applier.wantsNoSpaceAlarm, true);
  assert.equal(errorOf(grant(subject, 6n)), 'LeaseExist', 'its own error goes first');
  assert.equal(errorOf(revoke(subject, 6n)), undefined);
  const other = subjectOf({ quotaBackendBytes: 64 });
  assert.equal(other.applier.admitsLeaseGrant(), false);
  assert.equal(other.applier.wantsNoSpaceAlarm, true);
});

test('an entry about leases that cannot be decoded has no effect', () => {
  const subject = subjectOf();
  grant(subject, 5n);
  for (const field of [InternalField.LeaseGrant, InternalField.LeaseRevoke, InternalField.LeaseCheckpoint]) {
    const reply = subject.propose(field, Buffer.from([0x0a, 0x05, 0x61]), false);
    assert.equal(errorOf(reply), 'Undecodable');
    assert.equal(subject.store.appliedIndex, subject.log.length);
  }
  assert.deepEqual(subject.applier.lessor.list(), [5n]);
});
