/**
 * The hand-written codecs against the generic one: the same values out of the same bytes, the same error for the same
 * damage, the same bytes for the same values.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, hexToBytes, utf8Encode } from '../../src/base/bytes.js';
import { Prng } from '../../src/base/prng.js';
import { ResponseHeaderTemplate } from '../../src/wire/header.js';
import {
  decodeCompactionRequest,
  decodeDeleteRangeRequest,
  decodeKeyValue,
  decodePutRequest,
  decodeRangeRequest,
  encodeCompactionResponse,
  encodeDeleteRangeResponse,
  encodeKeyValue,
  encodePutResponse,
  encodeRangeResponse,
  keyValueWithoutValue,
} from '../../src/wire/kv.js';
import { ProtoError } from '../../src/wire/proto.js';
import { decode, encode, type Message, type MessageInput, type MessageName } from '../../src/wire/schema.js';
import { decodeTxnRequest, encodeTxnResponse, type OpResult, type TxnRequest } from '../../src/wire/txn.js';
import { damaged, randomBytes, randomMessage } from './random-message.js';

const range = (message: Message<'etcdserverpb.RangeRequest'>) => ({
  key: message.key,
  rangeEnd: message.range_end,
  limit: Number(message.limit),
  revision: Number(message.revision),
  sortOrder: message.sort_order,
  sortTarget: message.sort_target,
  serializable: message.serializable,
  keysOnly: message.keys_only,
  countOnly: message.count_only,
  minModRevision: Number(message.min_mod_revision),
  maxModRevision: Number(message.max_mod_revision),
  minCreateRevision: Number(message.min_create_revision),
  maxCreateRevision: Number(message.max_create_revision),
});

const put = (message: Message<'etcdserverpb.PutRequest'>) => ({
  key: message.key,
  value: message.value,
  lease: message.lease,
  prevKv: message.prev_kv,
  ignoreValue: message.ignore_value,
  ignoreLease: message.ignore_lease,
});

const deletion = (message: Message<'etcdserverpb.DeleteRangeRequest'>) => ({
  key: message.key,
  rangeEnd: message.range_end,
  prevKv: message.prev_kv,
});

const compare = (message: Message<'etcdserverpb.Compare'>) => {
  const integers = [message.version, message.create_revision, message.mod_revision];
  const set = [...integers, message.value, message.lease].findIndex(operand => operand !== undefined);
  return {
    result: message.result,
    target: message.target,
    key: message.key,
    rangeEnd: message.range_end,
    operand: set === -1 ? undefined : set,
    integer: Number(integers[set] ?? 0),
    value: message.value ?? new Uint8Array(0),
    lease: message.lease ?? 0n,
  };
};

const operation = (message: Message<'etcdserverpb.RequestOp'>): unknown => {
  if (message.request_range !== undefined) return { kind: 'range', request: range(message.request_range) };
  if (message.request_put !== undefined) return { kind: 'put', request: put(message.request_put) };
  if (message.request_delete_range !== undefined) {
    return { kind: 'deleteRange', request: deletion(message.request_delete_range) };
  }
  return message.request_txn === undefined ? { kind: 'none' } : { kind: 'txn', request: txn(message.request_txn) };
};

const txn = (message: Message<'etcdserverpb.TxnRequest'>): unknown => ({
  compare: message.compare.map(compare),
  success: message.success.map(operation),
  failure: message.failure.map(operation),
});

/** A former oneof member's value may still be there in the hand-written Compare; nobody may look at it. */
function withoutStaleOperands(request: TxnRequest): TxnRequest {
  const clean = (op: TxnRequest['success'][number]) =>
    op.kind === 'txn' ? { ...op, request: withoutStaleOperands(op.request) } : op;
  return {
    compare: request.compare.map(one => ({
      ...one,
      integer: one.operand !== undefined && one.operand <= 2 ? one.integer : 0,
      value: one.operand === 3 ? one.value : new Uint8Array(0),
      lease: one.operand === 4 ? one.lease : 0n,
    })),
    success: request.success.map(clean),
    failure: request.failure.map(clean),
  };
}

function outcome(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof ProtoError, String(error));
    return `error: ${error.message}`;
  }
}

/** Whole, cut at every byte, and damaged at random: both decoders must come to the same. */
function agree<Name extends MessageName>(
  name: Name,
  hot: (bytes: Uint8Array) => unknown,
  expected: (message: Message<Name>) => unknown,
): void {
  test(`${name}: decodes as the generic codec does, whole, cut and damaged`, () => {
    const prng = new Prng(7);
    const check = (bytes: Uint8Array) => {
      const generic = outcome(() => expected(decode(name, bytes)));
      assert.deepEqual(
        outcome(() => hot(bytes)),
        generic,
        bytesToHex(bytes),
      );
    };
    for (let round = 0; round < 150; round++) {
      const bytes = encode(name, randomMessage(prng, name, 4) as MessageInput<Name>);
      check(bytes);
      for (let i = 0; i < 10; i++) check(damaged(prng, bytes));
      if (round < 10) for (let end = 0; end < bytes.length; end++) check(bytes.subarray(0, end));
      check(randomBytes(prng, 30));
    }
  });
}

agree('etcdserverpb.RangeRequest', decodeRangeRequest, range);
agree('etcdserverpb.PutRequest', bytes => decodePutRequest(bytes), put);
agree('etcdserverpb.DeleteRangeRequest', bytes => decodeDeleteRangeRequest(bytes), deletion);
agree('etcdserverpb.TxnRequest', bytes => withoutStaleOperands(decodeTxnRequest(bytes)), txn);
agree(
  'etcdserverpb.CompactionRequest',
  bytes => decodeCompactionRequest(bytes),
  message => ({ revision: Number(message.revision), physical: message.physical }),
);
agree('mvccpb.KeyValue', decodeKeyValue, message => ({
  key: message.key,
  createRevision: Number(message.create_revision),
  modRevision: Number(message.mod_revision),
  version: Number(message.version),
  value: message.value,
  lease: message.lease,
}));
test('requests decode in the middle of a larger array', () => {
  const bytes = hexToBytes('ffff 0a0161 120131 ffff');
  assert.deepEqual(decodePutRequest(bytes, 2, 8).value, utf8Encode('1'));
  assert.deepEqual(decodeDeleteRangeRequest(hexToBytes('00 0a0161 00'), 1, 4).key, utf8Encode('a'));
  assert.equal(decodeCompactionRequest(hexToBytes('00 0805 00'), 1, 3).revision, 5);
  assert.deepEqual(decodeTxnRequest(hexToBytes('00 00'), 1, 1), { compare: [], success: [], failure: [] });
});

test('revisions beyond the safe range keep sign and magnitude', () => {
  const huge = encode('etcdserverpb.RangeRequest', { revision: 2n ** 63n - 1n, limit: -1n });
  const { revision, limit } = decodeRangeRequest(huge);
  assert.ok(revision > Number.MAX_SAFE_INTEGER);
  assert.equal(limit, -1);
  assert.ok(decodeRangeRequest(encode('etcdserverpb.RangeRequest', { revision: -(2n ** 63n) })).revision < 0);
});

test('a transaction that nests without end is refused, not a stack overflow', () => {
  let bytes = new Uint8Array(0);
  for (let i = 0; i < 2000; i++) {
    const op = encode('etcdserverpb.RequestOp', { request_txn: {} }).subarray(0, 1);
    bytes = concatNested(op, bytes);
  }
  assert.throws(() => decodeTxnRequest(bytes), /exceeded maximum recursion depth/);
  assert.throws(() => decode('etcdserverpb.TxnRequest', bytes), /exceeded maximum recursion depth/);
});

/** TxnRequest { success: [ RequestOp { request_txn: `inner` } ] } */
function concatNested(opTag: Uint8Array, inner: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = (size: number) => (size < 128 ? [size] : size < 16_384 ? [(size & 127) | 128, size >> 7] : long(size));
  const long = (size: number) => [(size & 127) | 128, ((size >> 7) & 127) | 128, size >> 14];
  const op = [opTag[0]!, ...length(inner.length), ...inner];
  return Uint8Array.from([0x12, ...length(op.length), ...op]);
}

test('key-value records are the generic encoding, bit for bit', () => {
  const prng = new Prng(3);
  for (let round = 0; round < 300; round++) {
    const kv = {
      key: randomBytes(prng, 200),
      createRevision: prng.nextBelow(3) === 0 ? 0 : prng.nextUint32() * 1000,
      modRevision: prng.nextBelow(2 ** 20),
      version: prng.nextBelow(200),
      value: randomBytes(prng, 300),
      lease: [0n, 1n, -1n, 2n ** 62n][prng.nextBelow(4)]!,
    };
    const generic = encode('mvccpb.KeyValue', {
      key: kv.key,
      create_revision: kv.createRevision,
      mod_revision: kv.modRevision,
      version: kv.version,
      value: kv.value,
      lease: kv.lease,
    });
    assert.deepEqual(encodeKeyValue(kv), generic);
    assert.deepEqual(decodeKeyValue(generic), kv);
    assert.deepEqual(decodeKeyValue(keyValueWithoutValue(generic)), { ...kv, value: new Uint8Array(0) });
  }
});

const ids = { cluster_id: 2n ** 64n - 1n, member_id: 0x8e9e05c52164694dn };
const template = new ResponseHeaderTemplate(ids.cluster_id, ids.member_id);
const kvs = [hexToBytes('0a0161'), hexToBytes(''), encode('mvccpb.KeyValue', { value: new Uint8Array(500) })];
const kvMessages = kvs.map(bytes => decode('mvccpb.KeyValue', bytes));

test('replies are the generic encoding', () => {
  for (const [revision, raftTerm] of [
    [0, 0],
    [1, 1],
    [2 ** 53 - 1, 2 ** 40],
  ] as const) {
    const header = { ...ids, revision, raft_term: raftTerm };
    const same = <Name extends MessageName>(actual: Uint8Array, name: Name, message: MessageInput<Name>) =>
      assert.equal(bytesToHex(actual), bytesToHex(encode(name, message)));

    same(encodePutResponse(template, revision, raftTerm), 'etcdserverpb.PutResponse', { header });
    same(encodePutResponse(template, revision, raftTerm, kvs[2]), 'etcdserverpb.PutResponse', {
      header,
      prev_kv: kvMessages[2],
    });
    const result = { kvs, more: true, count: 1000 };
    same(encodeRangeResponse(template, revision, raftTerm, result), 'etcdserverpb.RangeResponse', {
      header,
      kvs: kvMessages,
      more: true,
      count: 1000,
    });
    same(encodeDeleteRangeResponse(template, revision, raftTerm, 3, kvs), 'etcdserverpb.DeleteRangeResponse', {
      header,
      deleted: 3,
      prev_kvs: kvMessages,
    });
    same(encodeCompactionResponse(template, revision, raftTerm), 'etcdserverpb.CompactionResponse', { header });
  }
});

test('a Txn’s replies carry inner headers with the revision only, nested ones empty headers', () => {
  const responses: OpResult[] = [
    { kind: 'range', revision: 9, result: { kvs, more: false, count: 3 } },
    { kind: 'put', revision: 10, prevKv: kvs[0] },
    { kind: 'put', revision: 10, prevKv: undefined },
    { kind: 'deleteRange', revision: 10, deleted: 0, prevKvs: [] },
  ];
  const nested: OpResult = { kind: 'txn', result: { succeeded: false, responses } };
  const bytes = encodeTxnResponse(template, 10, 2, { succeeded: true, responses: [...responses, nested] });

  const inner = [
    { response_range: { header: { revision: 9 }, kvs: kvMessages, count: 3 } },
    { response_put: { header: { revision: 10 }, prev_kv: kvMessages[0] } },
    { response_put: { header: { revision: 10 } } },
    { response_delete_range: { header: { revision: 10 } } },
  ];
  const expected = encode('etcdserverpb.TxnResponse', {
    header: { ...ids, revision: 10, raft_term: 2 },
    succeeded: true,
    responses: [...inner, { response_txn: { header: {}, succeeded: false, responses: inner } }],
  });
  assert.equal(bytesToHex(bytes), bytesToHex(expected));
});

test('a reply stays as it is while others are encoded', () => {
  const replies = Array.from({ length: 3000 }, (_, revision) => encodePutResponse(template, revision, 1));
  for (const [revision, reply] of replies.entries()) {
    assert.equal(decode('etcdserverpb.PutResponse', reply).header?.revision, BigInt(revision));
  }
});
