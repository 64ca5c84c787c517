/**
 * Auth at apply: entries with an identity against a whole applier. What is decided is in the log and the store, so a
 * second run of the log comes to the same answers and the same store.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reply } from '../../../src/member/apply/reply.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { InternalField, type RequestIdentity } from '../../../src/wire/internal.js';
import { encode, type MessageInput, type MessageName } from '../../../src/wire/schema.js';
import { applyEntry, KvSubject } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

const b = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const HASH = Buffer.from('$2a$04$hash').toString('base64');

class Stage {
  readonly subject = new KvSubject(new MemoryStateStore());
  readonly replies: string[] = [];

  /** Applies an entry of `user` at the current auth revision, or `behind` revisions ago. */
  as<Name extends MessageName>(
    user: string,
    field: InternalField,
    message: Name,
    request: MessageInput<Name>,
    behind = 0,
  ): string {
    const { revision } = this.subject.applier.auth;
    const identity: RequestIdentity | undefined =
      user === '' ? undefined : { username: user, authRevision: revision - behind };
    const said = spelled(this.subject.propose(field, encode(message, request), true, identity));
    this.replies.push(said);
    return said;
  }

  put(user: string, key: string, more: MessageInput<'etcdserverpb.PutRequest'> = {}, behind = 0): string {
    return this.as(user, InternalField.Put, 'etcdserverpb.PutRequest', { key: b(key), value: b('v'), ...more }, behind);
  }

  remove(user: string, key: string, more: MessageInput<'etcdserverpb.DeleteRangeRequest'> = {}): string {
    return this.as(user, InternalField.DeleteRange, 'etcdserverpb.DeleteRangeRequest', { key: b(key), ...more });
  }

  txn(user: string, request: MessageInput<'etcdserverpb.TxnRequest'>): string {
    return this.as(user, InternalField.Txn, 'etcdserverpb.TxnRequest', request);
  }
}

function spelled(reply: Reply | undefined): string {
  if (reply === undefined) return '-';
  return 'error' in reply ? etcdErrorName(reply.error) : 'ok';
}

/** Users root, reader (READ r..s), writer (WRITE w..x), both (READWRITE r..x by two roles), none; auth on. */
function prepared(): Stage {
  const stage = new Stage();
  const admin = <Name extends MessageName>(field: InternalField, message: Name, request: MessageInput<Name>): void =>
    assert.equal(stage.as('', field, message, request), 'ok', message);
  for (const name of ['root', 'reader', 'writer', 'both', 'none']) {
    admin(InternalField.AuthUserAdd, 'etcdserverpb.AuthUserAddRequest', { name, hashedPassword: HASH });
  }
  for (const [role, permType, key, end] of [
    ['r', 0, 'r', 's'],
    ['w', 1, 'w', 'x'],
    ['rw1', 2, 'r', 't'],
    ['rw2', 2, 't', 'x'],
  ] as const) {
    admin(InternalField.AuthRoleAdd, 'etcdserverpb.AuthRoleAddRequest', { name: role });
    const perm = { permType, key: b(key), range_end: b(end) };
    admin(InternalField.AuthRoleGrantPermission, 'etcdserverpb.AuthRoleGrantPermissionRequest', { name: role, perm });
  }
  for (const [user, role] of [
    ['root', 'root'],
    ['reader', 'r'],
    ['writer', 'w'],
    ['both', 'rw1'],
    ['both', 'rw2'],
  ] as const) {
    admin(InternalField.AuthUserGrantRole, 'etcdserverpb.AuthUserGrantRoleRequest', { user, role });
  }
  admin(InternalField.AuthEnable, 'etcdserverpb.AuthEnableRequest', {});
  return stage;
}

const DENIED = 'PermissionDenied';

test('keys: who may put, delete and read them', () => {
  const stage = prepared();
  assert.equal(stage.put('', 'w1'), 'UserEmpty');
  assert.equal(stage.put('eve', 'w1'), DENIED);
  assert.equal(stage.put('none', 'w1'), DENIED);
  assert.equal(stage.put('reader', 'r1'), DENIED);
  assert.equal(stage.put('writer', 'w1'), 'ok');
  assert.equal(stage.put('writer', 'w1', {}, 1), 'AuthOldRevision');
  assert.equal(stage.put('root', 'w1', {}, 1), 'AuthOldRevision');
  assert.equal(stage.put('writer', 'w1', { prev_kv: true }), DENIED);
  assert.equal(stage.put('both', 'w1', { prev_kv: true }), 'ok');
  assert.equal(stage.put('both', 'x'), DENIED);
  assert.equal(stage.put('root', 'anything', { prev_kv: true }), 'ok');

  assert.equal(stage.remove('writer', 'w', { range_end: b('x') }), 'ok');
  assert.equal(stage.remove('writer', 'w', { range_end: b('\0') }), DENIED);
  assert.equal(stage.remove('writer', 'w', { range_end: b('x'), prev_kv: true }), DENIED);
  assert.equal(stage.remove('both', 'r', { range_end: b('x'), prev_kv: true }), 'ok');
  assert.equal(stage.remove('both', 'r', { range_end: b('x\0') }), DENIED);
  assert.equal(stage.remove('', 'w'), 'UserEmpty');

  const range = (user: string, key: string, end = ''): string =>
    stage.as(user, InternalField.Range, 'etcdserverpb.RangeRequest', { key: b(key), range_end: b(end) });
  assert.deepEqual([range('reader', 'r'), range('reader', 'r', 's'), range('reader', 'r', '\0')], ['ok', 'ok', DENIED]);
});

test('transactions: compares, both branches, nested ones and what a put brings with it', () => {
  const stage = prepared();
  const compare = [{ key: b('r1'), target: 0, result: 0 }];
  const put = (key: string, more: MessageInput<'etcdserverpb.PutRequest'> = {}) => ({
    request_put: { key: b(key), value: b('v'), ...more },
  });
  const get = (key: string, end = '') => ({ request_range: { key: b(key), range_end: b(end) } });
  const nested = (...success: ReturnType<typeof put>[]) => ({ request_txn: { compare: [], success, failure: [] } });
  assert.equal(stage.txn('writer', { success: [put('w1')] }), 'ok');
  assert.equal(stage.txn('writer', { compare, success: [put('w1')] }), DENIED, 'a compare reads');
  assert.equal(stage.txn('both', { compare, success: [put('w1')] }), 'ok');
  const open = [{ ...compare[0], range_end: b('\0') }];
  assert.equal(stage.txn('both', { compare: open, success: [put('w1')] }), DENIED, 'a compare of a range');
  assert.equal(stage.txn('writer', { success: [put('w1')], failure: [put('r1')] }), DENIED, 'the branch not taken');
  assert.equal(stage.txn('writer', { success: [put('w1'), get('r1')] }), DENIED);
  assert.equal(stage.txn('writer', { success: [nested(put('w2'))] }), 'ok');
  assert.equal(stage.txn('writer', { success: [nested(put('r1'))] }), DENIED, 'CVE-2026-33343');
  const deep = { request_txn: { compare, success: [], failure: [] } };
  assert.equal(stage.txn('writer', { success: [{ request_txn: { success: [deep] } }, put('w1')] }), DENIED);
  assert.equal(stage.txn('writer', { success: [put('w1', { prev_kv: true })] }), DENIED, 'etcd #21677');
  assert.equal(stage.txn('both', { success: [put('w1', { prev_kv: true })] }), 'ok');
  const remove = { request_delete_range: { key: b('w1'), prev_kv: true } };
  assert.equal(stage.txn('writer', { success: [remove] }), DENIED);
  assert.equal(stage.txn('', { success: [put('w1')] }), 'UserEmpty');
});

test('leases: whoever uses or revokes one must be able to write all its keys', () => {
  const stage = prepared();
  const grant = (user: string, ID: bigint): string =>
    stage.as(user, InternalField.LeaseGrant, 'etcdserverpb.LeaseGrantRequest', { ID, TTL: 60n });
  const revoke = (user: string, ID: bigint, behind = 0): string =>
    stage.as(user, InternalField.LeaseRevoke, 'etcdserverpb.LeaseRevokeRequest', { ID }, behind);
  assert.equal(grant('none', 1n), 'ok');
  assert.equal(stage.put('writer', 'w1', { lease: 1n }), 'ok');
  assert.equal(stage.put('both', 'w2', { lease: 1n }), 'ok');
  assert.equal(stage.put('both', 'r1', { lease: 1n }), 'ok');
  assert.equal(stage.put('writer', 'w3', { lease: 1n }), DENIED, 'the lease has a key that writer may not write');
  const inTxn = { success: [{ request_put: { key: b('w3'), value: b('v'), lease: 1n } }] };
  assert.equal(stage.txn('writer', inTxn), DENIED);
  assert.equal(revoke('writer', 1n), DENIED);
  assert.equal(revoke('', 1n), 'UserEmpty');
  assert.equal(revoke('writer', 2n), 'LeaseNotFound');
  assert.equal(revoke('root', 1n, 1), 'ok', 'the leader revokes as root, whatever changed meanwhile');
});

test('administration: root only, but for one’s own user and roles', () => {
  const stage = prepared();
  const ask = (user: string, field: InternalField, message: MessageName, request = {}): string =>
    stage.as(user, field, message, request as never);
  for (const [field, message] of [
    [InternalField.AuthEnable, 'etcdserverpb.AuthEnableRequest'],
    [InternalField.AuthStatus, 'etcdserverpb.AuthStatusRequest'],
    [InternalField.AuthUserList, 'etcdserverpb.AuthUserListRequest'],
    [InternalField.AuthRoleList, 'etcdserverpb.AuthRoleListRequest'],
    [InternalField.AuthUserAdd, 'etcdserverpb.AuthUserAddRequest'],
    [InternalField.AuthRoleDelete, 'etcdserverpb.AuthRoleDeleteRequest'],
    [InternalField.AuthDisable, 'etcdserverpb.AuthDisableRequest'],
  ] as const) {
    assert.equal(ask('', field, message), 'UserEmpty', message);
    assert.equal(ask('eve', field, message), 'UserNotFound', message);
    assert.equal(ask('both', field, message), DENIED, message);
  }
  const user = (asker: string, name: string): string =>
    ask(asker, InternalField.AuthUserGet, 'etcdserverpb.AuthUserGetRequest', { name });
  const role = (asker: string, name: string): string =>
    ask(asker, InternalField.AuthRoleGet, 'etcdserverpb.AuthRoleGetRequest', { role: name });
  assert.deepEqual([user('both', 'both'), user('both', 'none'), user('root', 'none')], ['ok', DENIED, 'ok']);
  assert.deepEqual([user('', 'both'), user('root', 'eve')], ['UserEmpty', 'UserNotFound']);
  assert.deepEqual([role('both', 'rw1'), role('both', 'r'), role('root', 'r')], ['ok', DENIED, 'ok']);
  assert.deepEqual([role('root', 'root'), role('root', 'x')], ['RoleNotFound', 'RoleNotFound']);
  assert.equal(ask('root', InternalField.AuthUserDelete, 'etcdserverpb.AuthUserDeleteRequest', { name: 'both' }), 'ok');
  assert.equal(stage.put('both', 'w1'), DENIED, 'at once');
  assert.equal(ask('root', InternalField.AuthDisable, 'etcdserverpb.AuthDisableRequest'), 'ok');
  assert.equal(stage.put('', 'anything'), 'ok');
});

test('a password that is no base64 is unusable, and one in clear is not looked at', () => {
  const stage = new Stage();
  const add = (name: string, more: MessageInput<'etcdserverpb.AuthUserAddRequest'>): string =>
    stage.as('', InternalField.AuthUserAdd, 'etcdserverpb.AuthUserAddRequest', { name, ...more });
  assert.equal(add('a', { hashedPassword: 'AAA' }), 'NoPasswordUser');
  assert.equal(add('a', { hashedPassword: 'A!==' }), 'NoPasswordUser');
  assert.equal(add('a', { hashedPassword: 'AAA=\r\n' }), 'ok');
  assert.equal(add('b', { password: 'clear', options: { no_password: true } }), 'ok');
  for (const [, value] of stage.subject.store.list('authUsers')) {
    assert.doesNotMatch(Buffer.from(value).toString('latin1'), /clear/);
  }
});

test('the same log gives the same answers and the same store, from the beginning or from any commit', () => {
  const stage = prepared();
  stage.put('writer', 'w1');
  stage.put('reader', 'w1');
  stage.as('root', InternalField.AuthUserRevokeRole, 'etcdserverpb.AuthUserRevokeRoleRequest', {
    name: 'writer',
    role: 'w',
  });
  stage.put('writer', 'w2');
  stage.as('root', InternalField.AuthRoleDelete, 'etcdserverpb.AuthRoleDeleteRequest', { role: 'rw1' });
  stage.put('both', 'r1');
  stage.put('both', 'v1');
  const { subject } = stage;
  const content = (store: MemoryStateStore): unknown =>
    ['auth', 'authUsers', 'authRoles'].map(table => store.list(table).map(pair => pair.map(each => Buffer.from(each))));
  const expected = { tables: content(subject.store), revision: subject.applier.currentRevision };
  for (let commitAt = 0; commitAt <= subject.log.length; commitAt += 1) {
    const store = new MemoryStateStore();
    const first = new KvSubject(store);
    for (const entry of subject.log.slice(0, commitAt)) applyEntry(first.applier, entry, false);
    store.commit();
    const again = new KvSubject(store.crash());
    const answers = subject.log
      .slice(commitAt)
      .map(entry => applyEntry(again.applier, entry, true))
      .map(spelled);
    assert.deepEqual(answers, stage.replies.slice(commitAt));
    assert.deepEqual({ tables: content(again.store), revision: again.applier.currentRevision }, expected);
  }
});

test('a fresh store has auth revision 1, on disk as in etcd', () => {
  const { store, applier } = new KvSubject(new MemoryStateStore());
  assert.equal(applier.auth.revision, 1);
  const [[key, value] = [], ...others] = store.list('auth');
  assert.deepEqual(
    [Buffer.from(key ?? []).toString(), Buffer.from(value ?? []).toString('hex'), others.length],
    ['authRevision', '0000000000000001', 0],
  );
});
