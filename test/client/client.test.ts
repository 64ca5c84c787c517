import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, utf8Encode } from '../../src/base/bytes.js';
import { type CallOptions, type Channel, createClient, EtcdError } from '../../src/client/client.js';
import { methodByNumber } from '../../src/wire/methods.js';
import { decode, encode, type MessageInput, type MessageName } from '../../src/wire/schema.js';

interface Sent {
  readonly path: string;
  readonly request: Uint8Array;
  readonly options: CallOptions | undefined;
}

/** Answers every call with one message and remembers what was sent. */
function clientAnswering<Name extends MessageName>(name: Name, answer: MessageInput<Name>) {
  const sent: Sent[] = [];
  const channel: Channel = {
    unary: (method, request, options) => {
      sent.push({ path: methodByNumber(method)!.path, request: request.slice(), options });
      return Promise.resolve(encode(name, answer));
    },
    stream: () => assert.fail('no stream is opened'),
  };
  return { client: createClient(channel), sent };
}

const header = { cluster_id: 1n, member_id: 2n, revision: 42n, raft_term: 3n };
const kv = {
  key: utf8Encode('a'),
  value: utf8Encode('ü'),
  create_revision: 5,
  mod_revision: 7,
  version: 2,
  lease: 2n ** 62n,
};

function requestOf<Name extends MessageName>(name: Name, { request }: Sent) {
  return decode(name, request);
}

test('put: text and bytes, settings, revision and former value', async () => {
  const { client, sent } = clientAnswering('etcdserverpb.PutResponse', { header, prev_kv: kv });
  const signal = new AbortController().signal;
  const options = { lease: -1n, previous: true, ignoreValue: true, ignoreLease: true, signal, timeoutMs: 5 };
  const result = await client.put('schlüssel', new Uint8Array([0, 255]), options);
  assert.equal(result.revision, 42);
  assert.equal(result.previous?.value, 'ü');
  assert.equal(result.previous?.lease, 2n ** 62n);
  assert.equal(sent[0]?.path, '/etcdserverpb.KV/Put');
  assert.equal(sent[0]?.options?.signal, signal);
  assert.equal(sent[0]?.options?.timeoutMs, 5);
  assert.deepEqual(requestOf('etcdserverpb.PutRequest', sent[0]!), {
    key: utf8Encode('schlüssel'),
    value: new Uint8Array([0, 255]),
    lease: -1n,
    prev_kv: true,
    ignore_value: true,
    ignore_lease: true,
  });
  await client.put('k', 'v'.repeat(200));
  assert.equal(requestOf('etcdserverpb.PutRequest', sent[1]!).value.length, 200);
});

test('get: one key or undefined', async () => {
  const found = clientAnswering('etcdserverpb.RangeResponse', { header, kvs: [kv], count: 1 });
  const result = await found.client.get('a', { revision: 9, serializable: true });
  assert.deepEqual([result?.key, result?.value, result?.version], ['a', 'ü', 2]);
  assert.deepEqual([result?.createRevision, result?.modRevision], [5, 7]);
  assert.deepEqual(result?.keyBytes, utf8Encode('a'));
  const request = requestOf('etcdserverpb.RangeRequest', found.sent[0]!);
  assert.deepEqual([request.revision, request.serializable, request.range_end.length], [9n, true, 0]);
  const missing = clientAnswering('etcdserverpb.RangeResponse', { header });
  assert.equal(await missing.client.get('a'), undefined);
});

test('getAll: every setting reaches the request', async () => {
  const { client, sent } = clientAnswering('etcdserverpb.RangeResponse', {
    header,
    kvs: [kv, kv],
    count: 9,
    more: true,
  });
  const result = await client.getAll(
    { from: 'a', to: 'c' },
    {
      limit: 2,
      sortBy: 'modRevision',
      descending: true,
      keysOnly: true,
      countOnly: true,
      minModRevision: 1,
      maxModRevision: 2,
      minCreateRevision: 3,
      maxCreateRevision: 4,
    },
  );
  assert.deepEqual([result.kvs.length, result.count, result.more, result.revision], [2, 9, true, 42]);
  assert.deepEqual(requestOf('etcdserverpb.RangeRequest', sent[0]!), {
    key: utf8Encode('a'),
    range_end: utf8Encode('c'),
    limit: 2n,
    revision: 0n,
    sort_order: 2,
    sort_target: 3,
    serializable: false,
    keys_only: true,
    count_only: true,
    min_mod_revision: 1n,
    max_mod_revision: 2n,
    min_create_revision: 3n,
    max_create_revision: 4n,
  });
  await client.getAll('a', { sortBy: 'value' });
  assert.equal(requestOf('etcdserverpb.RangeRequest', sent[1]!).sort_order, 1);
});

test('ranges: a key, a prefix, from here on, everything', async () => {
  const { client, sent } = clientAnswering('etcdserverpb.DeleteRangeResponse', { header, deleted: 3, prev_kvs: [kv] });
  const cases = [
    ['a', '61', ''],
    [{ prefix: 'ab' }, '6162', '6163'],
    [{ prefix: new Uint8Array([0x61, 0xff]) }, '61ff', '62'],
    [{ prefix: new Uint8Array([0xff, 0xff]) }, 'ffff', '00'],
    [{ prefix: '' }, '00', '00'],
    [{ from: 'b' }, '62', '00'],
    [{ from: '', to: 'c' }, '00', '63'],
  ] as const;
  for (const [i, [range, key, rangeEnd]] of cases.entries()) {
    const result = await client.delete(range, { previous: true });
    assert.deepEqual([result.deleted, result.previous[0]?.key, result.revision], [3, 'a', 42]);
    const request = requestOf('etcdserverpb.DeleteRangeRequest', sent[i]!);
    assert.deepEqual([bytesToHex(request.key), bytesToHex(request.range_end), request.prev_kv], [key, rangeEnd, true]);
  }
});

test('txn: comparisons and operations out, results in', async () => {
  const { client, sent } = clientAnswering('etcdserverpb.TxnResponse', {
    header,
    succeeded: true,
    responses: [
      { response_put: { header: { revision: 42 } } },
      { response_range: { header: { revision: 42 }, kvs: [kv], count: 1 } },
      { response_delete_range: { deleted: 2 } },
      { response_txn: { header: {}, responses: [{ response_put: {} }] } },
    ],
  });
  const result = await client.txn({
    compare: [
      { key: 'a', version: 0 },
      { key: 'a', modRevision: 5, is: '>' },
      { key: 'a', createRevision: 5, is: '<' },
      { key: { prefix: 'a' }, value: '', is: '!=' },
      { key: 'a', lease: -2n },
    ],
    success: [
      { put: 'a', value: 'b', lease: 7n },
      { get: { prefix: 'a' }, limit: 1 },
    ],
    failure: [{ delete: 'a', previous: true }, { txn: { success: [{ put: 'x', value: 'y' }] } }],
  });
  assert.deepEqual(
    [result.succeeded, result.revision, result.responses.map(response => response.kind)],
    [true, 42, ['put', 'get', 'delete', 'txn']],
  );
  const [, range, deletion, nested] = result.responses;
  assert.ok(range?.kind === 'get' && range.kvs[0]?.key === 'a');
  assert.ok(deletion?.kind === 'delete' && deletion.deleted === 2);
  assert.ok(nested?.kind === 'txn' && nested.responses[0]?.kind === 'put');

  const a = utf8Encode('a');
  assert.equal(
    bytesToHex(sent[0]!.request),
    bytesToHex(
      encode('etcdserverpb.TxnRequest', {
        compare: [
          { key: a, version: 0n },
          { result: 1, target: 2, key: a, mod_revision: 5 },
          { result: 2, target: 1, key: a, create_revision: 5 },
          { result: 3, target: 3, key: a, value: new Uint8Array(0), range_end: utf8Encode('b') },
          { target: 4, key: a, lease: -2n },
        ],
        success: [
          { request_put: { key: a, value: utf8Encode('b'), lease: 7n } },
          { request_range: { key: a, range_end: utf8Encode('b'), limit: 1 } },
        ],
        failure: [
          { request_delete_range: { key: a, prev_kv: true } },
          { request_txn: { success: [{ request_put: { key: utf8Encode('x'), value: utf8Encode('y') } }] } },
        ],
      }),
    ),
  );
  await client.txn({});
  assert.equal(sent[1]?.request.length, 0);
});

test('compact, status, memberList', async () => {
  const compaction = clientAnswering('etcdserverpb.CompactionResponse', { header });
  await compaction.client.compact(12, { physical: true });
  const request = requestOf('etcdserverpb.CompactionRequest', compaction.sent[0]!);
  assert.deepEqual(request, { revision: 12n, physical: true });

  const answer = { header, version: '3.6.14', leader: 2n ** 63n, raftIndex: 8, dbSize: 4096, errors: ['e'] };
  const status = await clientAnswering('etcdserverpb.StatusResponse', answer).client.status();
  assert.deepEqual(
    [status.version, status.leader, status.raftIndex, status.dbSizeBytes, status.errors, status.revision],
    ['3.6.14', 2n ** 63n, 8, 4096, ['e'], 42],
  );

  const member = { ID: 2n ** 64n - 1n, name: 'm1', peerURLs: ['p'], clientURLs: ['c'], isLearner: true };
  const list = clientAnswering('etcdserverpb.MemberListResponse', { header, members: [member] });
  assert.deepEqual(await list.client.memberList(), [
    { id: 2n ** 64n - 1n, name: 'm1', peerUrls: ['p'], clientUrls: ['c'], isLearner: true },
  ]);
  assert.equal(requestOf('etcdserverpb.MemberListRequest', list.sent[0]!).linearizable, true);
  await list.client.memberList({ serializable: true });
  assert.equal(requestOf('etcdserverpb.MemberListRequest', list.sent[1]!).linearizable, false);
});

test('what the channel rejects with comes out as it is', async () => {
  const failure = new EtcdError(3, 'etcdserver: key is not provided');
  const client = createClient({
    unary: () => Promise.reject(failure),
    stream: () => assert.fail('no stream is opened'),
  });
  await assert.rejects(client.put('', ''), error => error === failure && failure.code === 3);
  await assert.rejects(client.get(''), { name: 'EtcdError', code: 3, message: 'etcdserver: key is not provided' });
});

test('bytes that are not UTF-8 become replacement characters in text only', async () => {
  const wild = { key: new Uint8Array([0xff]), value: new Uint8Array([0xfe, 0x61]) };
  const { client } = clientAnswering('etcdserverpb.RangeResponse', { header, kvs: [wild], count: 1 });
  const result = await client.get('x');
  assert.deepEqual([result?.key, result?.value], ['\ufffd', '\ufffda']);
  assert.deepEqual(result?.valueBytes, wild.value);
});
