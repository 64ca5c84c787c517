import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionError } from '../../../src/base/assert.js';
import { Prng } from '../../../src/base/prng.js';
import { EtcdErrorCode } from '../../../src/wire/errors.js';
import { InternalField } from '../../../src/wire/internal.js';
import { type Message as DecodedMessage, decode, encode } from '../../../src/wire/schema.js';
import {
  bodyOf,
  compact,
  fromKey,
  keysOf,
  put,
  range,
  remove,
  revisionOf,
  run,
  txn,
} from '../../support/kv-requests.js';
import { KvSubject, type SubjectOptions, subjectClusterId, subjectTerm } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { decodeMessage, type Message } from '../../support/messages.js';
import { generateProgram, programLeases } from '../../support/programs.js';

type Subject = KvSubject<MemoryStateStore>;

const NOSPACE = 1;
const CORRUPT = 2;
const self = 0xa1n;
const other = 0xb2n;

function subjectOf(options: SubjectOptions = {}): Subject {
  return new KvSubject(new MemoryStateStore(), options);
}

function alarm(subject: Subject, action: number, memberID: bigint, type: number): AlarmAnswer {
  const body = encode('etcdserverpb.AlarmRequest', { action, memberID, alarm: type });
  const reply = subject.propose(InternalField.Alarm, body);
  assert.ok(reply !== undefined && 'ok' in reply);
  return decode('etcdserverpb.AlarmResponse', reply.ok);
}

type AlarmAnswer = DecodedMessage<'etcdserverpb.AlarmResponse'>;

const raise = (subject: Subject, memberID: bigint, type: number): AlarmAnswer => alarm(subject, 1, memberID, type);
const clear = (subject: Subject, memberID: bigint, type: number): AlarmAnswer => alarm(subject, 2, memberID, type);
const listed = ({ alarms }: AlarmAnswer): string =>
  alarms.map(({ memberID, alarm: type }) => `${memberID.toString(16)}:${type}`).join(' ');

/** Everything a store holds: records, alarms and applied index. */
function dump({ store }: Subject): unknown {
  const records: unknown[] = [];
  store.scanRecords(
    { main: 0, sub: 0 },
    (...record) => records.push([...record.slice(0, 3), Buffer.from(record[3])]) > 0,
  );
  return { records, alarms: store.list('alarm').map(([key]) => Buffer.from(key)), applied: store.appliedIndex };
}

test('the applied index moves with every entry, whatever came of it', () => {
  const subject = subjectOf();
  const steps: (() => unknown)[] = [
    () => run(subject, put('a')),
    () => run(subject, put('a', 'v', { lease: 9n })),
    () => run(subject, txn([range('a', { revision: 99n }), put('b')])),
    () => run(subject, txn([], [put('b')])),
    () => run(subject, remove('nothing')),
    () => compact(subject, 99),
    () => alarm(subject, 0, 0n, 0),
    () => raise(subject, other, CORRUPT),
    () => run(subject, put('refused')),
  ];
  steps.forEach((step, at) => {
    step();
    assert.equal(subject.store.appliedIndex, at + 1);
  });
  subject.applier.applyEmpty({ type: 0, term: subjectTerm, index: steps.length + 1, data: Buffer.alloc(0) });
  assert.equal(subject.store.appliedIndex, steps.length + 1);
  assert.equal(subject.applier.currentRevision, 2);
});

test('headers: ids, term and the current revision, also of a read at an older one', () => {
  const subject = subjectOf();
  run(subject, put('a'));
  run(subject, put('a'));
  const expected = { cluster_id: subjectClusterId, member_id: self, revision: 3n, raft_term: BigInt(subjectTerm) };
  assert.deepEqual((run(subject, range('a', { revision: 2n })) as Message).header, expected);
  assert.deepEqual(alarm(subject, 0, 0n, 0).header, expected);
});

test('an entry that asks for something unknown ends the member', () => {
  for (const field of [99, 1014, 1199, 1299, 9999]) {
    const subject = subjectOf();
    assert.throws(() => subject.propose(field as InternalField, Buffer.alloc(0)), AssertionError);
    assert.equal(subject.store.appliedIndex, 0);
  }
});

test('an entry whose request cannot be decoded has no effect', () => {
  const subject = subjectOf();
  const fields = [InternalField.Put, InternalField.Txn, InternalField.DeleteRange, InternalField.Range];
  for (const field of [...fields, InternalField.Compaction, InternalField.Alarm]) {
    const reply = subject.propose(field, Buffer.from([0x0a, 0x05, 0x61]), false);
    assert.equal(reply !== undefined && 'error' in reply ? reply.error : undefined, EtcdErrorCode.Undecodable);
    assert.equal(subject.store.appliedIndex, subject.log.length);
  }
  assert.equal(subject.applier.currentRevision, 1);
});

test('who waits for an answer changes nothing but the answer (etcd #18667)', () => {
  const options = {
    undefinedSortTargets: false,
    bigValues: false,
    operationsMax: 60,
    leases: true,
    revisionsInTxns: true,
  };
  for (let seed = 1; seed <= 150; seed += 1) {
    const prng = new Prng(seed);
    const subjects = [true, false].map(wanted => ({ wanted, subject: subjectOf({ leases: programLeases }) }));
    for (const { method, body, request, local } of generateProgram(seed, 1n, options)) {
      if (request === undefined || local || !['Put', 'DeleteRange', 'Txn', 'Compact'].includes(method)) continue;
      const errors = subjects.map(({ subject, wanted }) => {
        const reply = subject.execute(method as 'Put', body, wanted || prng.nextBelow(2) === 0);
        return reply !== undefined && 'error' in reply ? reply.error : undefined;
      });
      assert.equal(errors[0], errors[1], `seed ${seed}: ${method}`);
    }
    assert.deepEqual(dump(subjects[0]!.subject), dump(subjects[1]!.subject));
  }
});

test('a transaction that fails at any of its operations changes nothing (etcd #18799)', () => {
  const failing: [Message, string][] = [
    [put('new', 'v', { ignore_value: true, value: Buffer.alloc(0) }), 'KeyNotFound'],
    [put('new', 'v', { ignore_lease: true }), 'KeyNotFound'],
    [put('new', 'v', { lease: 77n }), 'LeaseNotFound'],
    [put('new', '', { lease: 77n, ignore_value: true }), 'KeyNotFound'],
    [range('a', { revision: 1n }), 'Compacted'],
    [range('a', { revision: -1n }), 'Compacted'],
    [range('a', { revision: 6n }), 'FutureRev'],
    [txn([range('a', { revision: 6n })]), 'FutureRev'],
    [txn([range('a', { revision: 6n })], [put('q')], [{ key: Buffer.from('a'), version: 9n }]), 'none'],
  ];
  for (const [failure, expected] of failing) {
    for (let position = 0; position <= 3; position += 1) {
      const subject = subjectOf();
      for (const key of ['a', 'b', 'c']) run(subject, put(key));
      compact(subject, 2);
      const operations = [put('x'), remove('b'), txn([put('y'), remove('a')])];
      operations.splice(position, 0, failure);
      const { records: before } = dump(subject) as { records: unknown };
      const answer = run(subject, txn(operations));
      assert.equal(typeof answer === 'string' ? answer : 'none', expected);
      if (expected === 'none') continue;
      assert.deepEqual((dump(subject) as { records: unknown }).records, before);
      assert.equal(subject.applier.currentRevision, 4);
    }
  }
});

test('alone a put looks for its lease first, in a transaction for its key', () => {
  const subject = subjectOf();
  const both = put('missing', '', { ignore_value: true, lease: 77n });
  assert.equal(run(subject, both), 'LeaseNotFound');
  assert.equal(run(subject, txn([both])), 'KeyNotFound');
});

test('leases: kept by ignore_lease, dropped by a put without one', () => {
  const subject = subjectOf({ leases: [5n, -6n] });
  const leaseOf = (): unknown => ((run(subject, range('k')) as Message).kvs as Message[])[0]?.lease;
  run(subject, put('k', 'v', { lease: -6n }));
  assert.equal(leaseOf(), -6n);
  run(subject, put('k', 'w', { ignore_lease: true }));
  assert.equal(leaseOf(), -6n);
  run(subject, put('k', '', { ignore_value: true, lease: 5n }));
  assert.equal(leaseOf(), 5n);
  run(subject, put('k', 'x'));
  assert.equal(leaseOf(), 0n);
});

test('alarms are raised once, listed by type, cleared exactly, and kept', () => {
  const subject = subjectOf();
  assert.equal(listed(raise(subject, other, NOSPACE)), 'b2:1');
  assert.equal(listed(raise(subject, other, NOSPACE)), 'b2:1');
  assert.equal(listed(raise(subject, self, NOSPACE)), 'a1:1');
  assert.equal(listed(raise(subject, 0n, CORRUPT)), '0:2');
  assert.equal(listed(raise(subject, self, 0)), '');
  for (const restarted of [false, true]) {
    if (restarted) {
      subject.store.commit();
      subject.restart(subject.store.crash());
    }
    assert.equal(listed(alarm(subject, 0, 0n, 0)), 'a1:1 b2:1 0:2');
    assert.equal(listed(alarm(subject, 0, self, NOSPACE)), 'a1:1 b2:1');
    assert.equal(listed(alarm(subject, 0, 0n, CORRUPT)), '0:2');
    assert.deepEqual(subject.applier.alarmTypes(), [NOSPACE, CORRUPT]);
  }
  assert.deepEqual(
    subject.store.list('alarm').map(([key]) => Buffer.from(key).toString('hex')),
    ['08a1011001', '08b2011001', '1002'],
  );
  assert.equal(listed(clear(subject, 0n, NOSPACE)), '');
  assert.equal(listed(clear(subject, self, CORRUPT)), '');
  assert.equal(listed(clear(subject, 0n, CORRUPT)), '0:2');
  assert.equal(listed(alarm(subject, 7, self, NOSPACE)), '');
  assert.equal(listed(alarm(subject, 0, 0n, 0)), 'a1:1 b2:1');
});

const outcome = (answer: Message | string): string => (typeof answer === 'string' ? answer : 'ok');

test('while any member has NOSPACE nothing is added, everything else goes on', () => {
  const subject = subjectOf();
  for (const key of ['a', 'b', 'c', 'd']) run(subject, put(key));
  raise(subject, other, NOSPACE);
  const cases: [Message, string][] = [
    [put('a'), 'NoSpace'],
    [put('a', 'v', { lease: 77n }), 'NoSpace'],
    [txn([put('a')]), 'NoSpace'],
    [txn([range('a')], [put('a')]), 'NoSpace'],
    [remove('a'), 'ok'],
    [txn([remove('b')]), 'ok'],
    [txn([range('c')]), 'ok'],
    [range('c'), 'ok'],
    // Not counted by etcd either.
    [txn([txn([put('n')])]), 'ok'],
  ];
  for (const [op, expected] of cases) assert.equal(outcome(run(subject, op)), expected);
  assert.equal(keysOf(run(subject, range('\0', { range_end: fromKey }))), 'c d n');
  assert.ok('ok' in compact(subject, 5)!);
  clear(subject, other, NOSPACE);
  assert.equal(outcome(run(subject, put('a'))), 'ok');
});

test('while CORRUPT is raised nothing is applied; reads are not affected', () => {
  const subject = subjectOf();
  run(subject, put('a'));
  raise(subject, other, NOSPACE);
  raise(subject, self, CORRUPT);
  for (const op of [put('a'), remove('a'), txn([remove('a')]), txn([txn([])])]) {
    assert.equal(run(subject, op), 'Corrupt');
  }
  assert.deepEqual(compact(subject, 2), { error: EtcdErrorCode.Corrupt });
  const readByEntry = subject.propose(InternalField.Range, bodyOf(range('a')));
  assert.deepEqual(readByEntry, { error: EtcdErrorCode.Corrupt });
  assert.equal(outcome(run(subject, range('a'))), 'ok');
  assert.equal(outcome(run(subject, txn([range('a')]))), 'ok');
  clear(subject, self, CORRUPT);
  assert.equal(run(subject, put('a')), 'NoSpace');
});

test('a write beyond the quota is made on every member, refused to its client, and raises NOSPACE', () => {
  const subject = subjectOf({ quotaBackendBytes: 10_000 });
  const cost = 256 + 'key'.length + 'value'.length;
  subject.store.reportedSizeBytes = 10_000 - cost - 1;
  assert.equal(outcome(run(subject, put('key', 'value'))), 'ok');
  assert.equal(subject.applier.wantsNoSpaceAlarm, false);
  subject.store.reportedSizeBytes += 1;
  assert.equal(run(subject, put('key', 'value')), 'NoSpace');
  assert.equal(subject.applier.currentRevision, 3, 'the write was made');
  assert.equal(subject.applier.wantsNoSpaceAlarm, true);
  assert.equal(run(subject, put('key', 'value', { lease: 77n })), 'LeaseNotFound', 'its own error goes first');
  assert.equal(outcome(run(subject, remove('key'))), 'ok');
  assert.equal(outcome(run(subject, txn([txn([put('n')])]))), 'ok');
  assert.equal(run(subject, txn([], [put('key', 'value')])), 'NoSpace');
  const reply = subject.propose(InternalField.Alarm, subject.applier.noSpaceRequest());
  assert.ok(reply !== undefined && 'ok' in reply);
  assert.equal(listed(decode('etcdserverpb.AlarmResponse', reply.ok)), 'a1:1');
  assert.equal(subject.applier.wantsNoSpaceAlarm, false);
  const revision = subject.applier.currentRevision;
  assert.equal(run(subject, put('key', 'value')), 'NoSpace');
  assert.equal(subject.applier.currentRevision, revision, 'now it is not made any more');
});

test('the quota is asked before proposing too', () => {
  const subject = subjectOf({ quotaBackendBytes: 1_000 });
  const small = { key: Buffer.from('k'), value: Buffer.alloc(10) };
  const large = { ...small, value: Buffer.alloc(900) };
  const putOf = (fields: typeof small): Parameters<typeof subject.applier.admitsPut>[0] => ({
    ...fields,
    lease: 0n,
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
  });
  const branch = (fields: typeof small) => [{ kind: 'put', request: putOf(fields) } as const];
  assert.equal(subject.applier.admitsPut(putOf(small)), true);
  assert.equal(subject.applier.admitsTxn({ compare: [], success: branch(small), failure: [] }), true);
  assert.equal(subject.applier.wantsNoSpaceAlarm, false);
  assert.equal(subject.applier.admitsTxn({ compare: [], success: [], failure: branch(large) }), false);
  assert.equal(subject.applier.wantsNoSpaceAlarm, true);
  const unlimited = subjectOf({ quotaBackendBytes: -1 });
  unlimited.store.reportedSizeBytes = Number.MAX_SAFE_INTEGER;
  assert.equal(unlimited.applier.admitsPut(putOf(large)), true);
  const byDefault = subjectOf();
  byDefault.store.reportedSizeBytes = 2 * 1024 ** 3 - 300;
  assert.equal(byDefault.applier.admitsPut(putOf(small)), true);
  assert.equal(byDefault.applier.admitsPut(putOf(large)), false);
});

test('the record without content that a restore with a bumped revision leaves: it counts, and nobody sees it', () => {
  const subject = subjectOf();
  run(subject, put('a'));
  subject.store.putRecord(1_000_000, 0, false, Buffer.alloc(0));
  subject.store.commit();
  const restored = new KvSubject(subject.store.crash(), {}, subject.log);
  assert.equal(restored.applier.currentRevision, 1_000_000);
  assert.equal(keysOf(run(restored, range('\0', { range_end: fromKey }))), 'a');
  assert.equal(revisionOf(run(restored, put('a'))), 1_000_001);
  compact(restored, 1_000_000);
  restored.settle(1);
  assert.equal(restored.store.recordCount, 3);
});

test('revisions beyond 32 bits', () => {
  const subject = subjectOf();
  subject.store.putRecord(2 ** 40, 0, false, Buffer.alloc(0));
  subject.store.commit();
  const far = new KvSubject(subject.store.crash());
  for (const op of [put('k'), put('k'), remove('k'), put('k')]) run(far, op);
  far.store.commit();
  far.restart(far.store.crash());
  const [kv] = (run(far, range('k')) as Message).kvs as Message[];
  assert.deepEqual([kv?.create_revision, kv?.mod_revision, kv?.version], [2n ** 40n + 4n, 2n ** 40n + 4n, 1n]);
  assert.equal(keysOf(run(far, range('k', { revision: 2n ** 40n + 2n }))), 'k');
  assert.equal(keysOf(run(far, range('k', { revision: 2n ** 40n + 3n }))), '');
  compact(far, 2 ** 40 + 3);
  far.settle(1);
  assert.equal(decodeMessage('CompactionResponse', far.applier.compactionReply(1)).header !== undefined, true);
  assert.equal(keysOf(run(far, range('k', { revision: 2n ** 40n + 2n }))), 'Compacted');
});

test('a fresh hash at a compacted revision goes by that compaction, the known one by the one before', () => {
  const subject = subjectOf();
  for (let at = 0; at < 6; at++) run(subject, put('a', `v${at}`));
  compact(subject, 5);
  subject.settle();
  const hashed = (fresh: boolean): DecodedMessage<'etcdserverpb.HashKVResponse'> => {
    let response: Uint8Array | undefined;
    const take = (bytes: Uint8Array): void => {
      response = bytes.slice();
    };
    assert.equal(
      subject.applier.hashKv(5, () => 0, take, fresh),
      undefined,
    );
    subject.settle();
    return decode('etcdserverpb.HashKVResponse', response ?? assert.fail('an answer'));
  };
  assert.equal(hashed(false).compact_revision, -1n);
  assert.equal(hashed(true).compact_revision, 5n);
  assert.equal(hashed(true).hash_revision, 5n);
});
