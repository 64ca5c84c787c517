import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, utf8Decode, utf8Encode } from '../../../src/base/bytes.js';
import { bootstrapLog } from '../../../src/member/membership/bootstrap.js';
import { encodeMemberRecord } from '../../../src/member/membership/member-record.js';
import {
  Members,
  type MembershipStore,
  type MembershipTable,
  memberMessage,
} from '../../../src/member/membership/members.js';
import { ConfChangeType } from '../../../src/member/raft/types.js';
import { EtcdErrorCode } from '../../../src/wire/errors.js';
import { encode } from '../../../src/wire/schema.js';

class FakeStore implements MembershipStore {
  readonly tables = { members: new Map(), membersRemoved: new Map(), cluster: new Map() } as Record<
    MembershipTable,
    Map<string, Uint8Array>
  >;
  get(table: MembershipTable, key: Uint8Array) {
    return this.tables[table].get(utf8Decode(key)!);
  }
  put(table: MembershipTable, key: Uint8Array, value: Uint8Array) {
    this.tables[table].set(utf8Decode(key)!, value);
  }
  delete(table: MembershipTable, key: Uint8Array) {
    this.tables[table].delete(utf8Decode(key)!);
  }
  list(table: MembershipTable) {
    return [...this.tables[table]].map(([key, value]) => [utf8Encode(key), value] as const);
  }
  texts(table: MembershipTable) {
    return Object.fromEntries([...this.tables[table]].map(([key, value]) => [key, utf8Decode(value)]));
  }
}

function change(type: ConfChangeType, id: bigint, peerUrls: string[] = [], extra = ''): Uint8Array {
  const urls = peerUrls.length === 0 ? 'null' : JSON.stringify(peerUrls);
  const context = utf8Encode(`{"id":${id},"peerURLs":${urls}${extra}}`);
  const isRemove = type === ConfChangeType.RemoveNode;
  return encode('raftpb.ConfChange', { id: 77n, type, node_id: id, ...(isRemove ? {} : { context }) });
}

function founded() {
  const store = new FakeStore();
  const members = new Members(store, 1);
  const log = bootstrapLog([
    { id: 3n, name: 'm3', peerUrls: ['http://p3:1'] },
    { id: 0xa2n, name: 'm1', peerUrls: ['http://p1:1'] },
    { id: 0xf000000000000001n, name: 'm2', peerUrls: ['http://p2:1'] },
  ]);
  for (const entry of log.entries) assert.equal(members.applyConfChange(entry.data).error, undefined);
  return { store, members };
}

const { AddNode, AddLearnerNode, RemoveNode, UpdateNode } = ConfChangeType;

test('founding entries fill the table; a new reader of the store sees the same', () => {
  const { store, members } = founded();
  assert.deepEqual(
    members.list().map(member => member.id),
    [3n, 0xa2n, 0xf000000000000001n],
  );
  assert.deepEqual(store.texts('members'), {
    '3': '{"id":3,"peerURLs":["http://p3:1"],"name":"m3"}',
    a2: '{"id":162,"peerURLs":["http://p1:1"],"name":"m1"}',
    f000000000000001: '{"id":17293822569102704641,"peerURLs":["http://p2:1"],"name":"m2"}',
  });
  assert.deepEqual(new Members(store, 1).list(), members.list());
});

test('attributes and cluster version are published, stored and read back', () => {
  const { store, members } = founded();
  const attributes = { name: 'new', client_urls: ['http://c:1'] };
  members.applyAttributes(
    encode('membershippb.ClusterMemberAttrSetRequest', { member_ID: 3n, member_attributes: attributes }),
  );
  assert.equal(members.clusterVersion, undefined);
  members.applyClusterVersion(encode('membershippb.ClusterVersionSetRequest', { ver: '3.6.0' }));
  const again = new Members(store, 1);
  assert.equal(again.clusterVersion, '3.6.0');
  assert.deepEqual(store.texts('cluster'), { clusterVersion: '3.6.0' });
  assert.deepEqual(memberMessage(again.get(3n)!), {
    ID: 3n,
    name: 'new',
    peerURLs: ['http://p3:1'],
    clientURLs: ['http://c:1'],
    isLearner: false,
  });
});

test('a removed member is gone for ever, and its late attributes are ignored', () => {
  const { store, members } = founded();
  const applied = members.applyConfChange(change(RemoveNode, 3n));
  assert.deepEqual(applied.forRaft.changes, [{ type: RemoveNode, nodeId: 3n }]);
  assert.equal(applied.requestId, 77n);
  assert.deepEqual(store.texts('membersRemoved'), { '3': 'removed' });
  assert.equal(new Members(store, 1).isRemoved(3n), true);
  assert.equal(members.applyConfChange(change(RemoveNode, 3n)).error, EtcdErrorCode.MemberNotFound);
  assert.equal(members.applyConfChange(change(AddNode, 3n, ['http://x:1'])).error, EtcdErrorCode.MemberNotFound);
  members.applyAttributes(encode('membershippb.ClusterMemberAttrSetRequest', { member_ID: 3n }));
  assert.equal(members.get(3n), undefined);
});

test('a refused change is one of no node for Raft and changes nothing', () => {
  const { store, members } = founded();
  const before = store.texts('members');
  const refusals: [Uint8Array, EtcdErrorCode][] = [
    [change(AddNode, 3n, ['http://new:1']), EtcdErrorCode.MemberExist],
    [change(AddNode, 9n, ['http://new:1', 'http://p3:1']), EtcdErrorCode.PeerUrlExist],
    [change(RemoveNode, 9n), EtcdErrorCode.MemberNotFound],
    [change(UpdateNode, 9n, ['http://new:1']), EtcdErrorCode.MemberNotFound],
    [change(UpdateNode, 3n, ['http://p1:1']), EtcdErrorCode.PeerUrlExist],
    [change(AddNode, 3n, [], ',"isPromote":true'), EtcdErrorCode.MemberNotLearner],
    [change(AddNode, 9n, [], ',"isPromote":true'), EtcdErrorCode.MemberNotFound],
  ];
  for (const [data, error] of refusals) {
    const applied = members.applyConfChange(data);
    assert.equal(applied.error, error);
    assert.equal(applied.forRaft.changes[0]?.nodeId, 0n);
  }
  assert.deepEqual(store.texts('members'), before);
});

test('learners: limited, promoted, and kept learners by an update of their URLs', () => {
  const { members } = founded();
  assert.equal(
    members.applyConfChange(change(AddLearnerNode, 9n, ['http://l:1'], ',"isLearner":true')).error,
    undefined,
  );
  assert.equal(members.get(9n)?.isLearner, true);
  assert.equal(
    members.applyConfChange(change(AddLearnerNode, 10n, ['http://k:1'])).error,
    EtcdErrorCode.TooManyLearners,
  );
  assert.equal(members.applyConfChange(change(UpdateNode, 9n, ['http://l:2'])).error, undefined);
  assert.deepEqual(members.get(9n)?.peerUrls, ['http://l:2']);
  assert.equal(members.get(9n)?.isLearner, true);
  assert.equal(members.applyConfChange(change(AddNode, 9n, [], ',"isPromote":true')).error, undefined);
  assert.equal(members.get(9n)?.isLearner, false);
  assert.deepEqual(members.get(9n)?.peerUrls, ['http://l:2']);
});

test('broken laws are assertions: unknown publisher, mismatched context, damaged table', () => {
  const { store, members } = founded();
  const stranger = encode('membershippb.ClusterMemberAttrSetRequest', { member_ID: 99n });
  assert.throws(() => members.applyAttributes(stranger), /unknown member/);
  const mismatch = encode('raftpb.ConfChange', { node_id: 5n, context: utf8Encode('{"id":6,"peerURLs":null}') });
  assert.throws(() => members.applyConfChange(mismatch), /describes another/);
  const alien = encodeMemberRecord({ id: 8n, name: '', peerUrls: [], clientUrls: [], isLearner: false });
  store.put('members', utf8Encode('7'), alien);
  assert.throws(() => new Members(store, 1), /damaged/);
});

test('conf change vectors', () => {
  const add = encode('raftpb.ConfChange', { node_id: 1n, context: utf8Encode('{}') });
  assert.equal(bytesToHex(add), '08001000180122027b7d');
  assert.equal(bytesToHex(encode('raftpb.ConfChange', { id: 77n, type: RemoveNode, node_id: 9n })), '084d10011809');
});
