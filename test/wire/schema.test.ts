import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, hexToBytes, utf8Encode } from '../../src/base/bytes.js';
import { Prng } from '../../src/base/prng.js';
import { methods } from '../../src/wire/methods.js';
import { schema } from '../../src/wire/schema/messages.js';
import { decode, encode, enums, isMessageName, type MessageName, messageTable } from '../../src/wire/schema.js';
import { randomMessage } from './random-message.js';

const names = Object.keys(schema) as MessageName[];
const scalars = ['bytes', 'string', 'bool', 'int64', 'uint64', 'int32', 'uint32'];

test('every field names a type that exists, with a number of its own', () => {
  for (const name of names) {
    const fields = Object.values(schema[name] as Record<string, readonly [number, string, string?]>);
    assert.equal(new Set(fields.map(([number]) => number)).size, fields.length, name);
    for (const [number, type] of fields) {
      assert.ok(number > 0, name);
      assert.ok(scalars.includes(type) || isMessageName(type) || type in enums, `${name}: ${type}`);
    }
  }
});

test('every method’s messages are in the schema', () => {
  for (const { request, response } of methods) {
    assert.ok(isMessageName(request), request);
    assert.ok(isMessageName(response), response);
  }
});

test('any message survives encoding and decoding, and its encoding is a fixed point', () => {
  const prng = new Prng(1);
  for (const name of names) {
    for (let round = 0; round < 20; round++) {
      const message = randomMessage(prng, name, 3);
      const bytes = encode(name, message as never);
      const decoded = decode(name, bytes);
      assert.deepEqual(encode(name, decoded as never), bytes, name);
      for (const field of messageTable(name).fields) {
        if (message[field.name] !== undefined && field.kind !== 'message') {
          assert.deepEqual((decoded as Record<string, unknown>)[field.name], message[field.name], field.name);
        }
      }
    }
  }
});

test('types follow the schema', () => {
  const grant = decode('etcdserverpb.LeaseGrantRequest', encode('etcdserverpb.LeaseGrantRequest', { TTL: 5, ID: -7n }));
  const ttl: bigint = grant.TTL;
  assert.equal(ttl, 5n);
  assert.equal(grant.ID, -7n);
  const list = decode('etcdserverpb.MemberListResponse', hexToBytes('1200'));
  const name: string = list.members[0]!.name;
  assert.equal(name, '');
  assert.equal(list.header, undefined);
  const snapshot = decode('raftpb.Snapshot', hexToBytes(''));
  assert.equal(snapshot.metadata.conf_state.auto_leave, false);
});

test('proto3: absent fields have zero values, the last of repeated scalars wins, unknown fields are skipped', () => {
  assert.deepEqual(decode('etcdserverpb.PutRequest', new Uint8Array(0)), {
    key: new Uint8Array(0),
    value: new Uint8Array(0),
    lease: 0n,
    prev_kv: false,
    ignore_value: false,
    ignore_lease: false,
  });
  assert.equal(decode('etcdserverpb.PutRequest', hexToBytes('1801 f80605 1802')).lease, 2n);
});

test('an embedded message given twice is merged, in a oneof replaced, and a oneof keeps its last member', () => {
  const status = decode('etcdserverpb.StatusResponse', hexToBytes('0a021807 0a022003'));
  assert.deepEqual(status.header, { cluster_id: 0n, member_id: 0n, revision: 7n, raft_term: 3n });
  const twice = decode('etcdserverpb.WatchRequest', hexToBytes('0a030a0161 0a021805'));
  assert.equal(twice.create_request?.key.length, 0);
  assert.equal(twice.create_request?.start_revision, 5n);
  const last = decode('etcdserverpb.WatchRequest', hexToBytes('0a030a0161 12020801'));
  assert.equal(last.create_request, undefined);
  assert.equal(last.cancel_request?.watch_id, 1n);
});

test('a oneof’s member is written even when zero or empty', () => {
  assert.equal(bytesToHex(encode('etcdserverpb.Compare', { version: 0n })), '2000');
  assert.equal(bytesToHex(encode('etcdserverpb.Compare', { value: new Uint8Array(0) })), '3a00');
  assert.equal(bytesToHex(encode('etcdserverpb.WatchRequest', { progress_request: {} })), '1a00');
});

test('scalars in lists are read packed and unpacked, and written as etcd writes them', () => {
  const filters = [1, 0, 200];
  assert.equal(bytesToHex(encode('etcdserverpb.WatchCreateRequest', { filters })), '2a040100c801');
  assert.deepEqual(decode('etcdserverpb.WatchCreateRequest', hexToBytes('2a040100c801')).filters, filters);
  assert.deepEqual(decode('etcdserverpb.WatchCreateRequest', hexToBytes('2801 2800 28c801')).filters, filters);
  assert.deepEqual(decode('raftpb.ConfState', hexToBytes('0a03010203')).voters, [1n, 2n, 3n]);
});

test('raftpb vectors of etcd 3.6', () => {
  const confChange = encode('raftpb.ConfChange', { node_id: 1n, context: utf8Encode('{}') });
  assert.equal(bytesToHex(confChange), '08001000180122027b7d');
  const entry = encode('raftpb.Entry', { Type: 1, Term: 1, Index: 1, Data: confChange });
  assert.equal(bytesToHex(entry), '080110011801220a08001000180122027b7d');
  assert.equal(bytesToHex(encode('raftpb.HardState', { term: 1, commit: 3 })), '080110001803');
  assert.equal(bytesToHex(encode('raftpb.ConfState', { voters: [1, 2, 3] })), '0801080208032800');
  assert.equal(bytesToHex(encode('raftpb.Entry', { Term: 2, Index: 4 })), '080010021804');
  const hello = encode('raftpb.Entry', { Term: 2, Index: 5, Data: utf8Encode('hello') });
  assert.equal(bytesToHex(hello), '080010021805220568656c6c6f');
  assert.equal(bytesToHex(encode('raftpb.Snapshot', {})), '12080a02280010001800');
});
