/**
 * The auth store against whole transcripts: every verb, what it answers, and the state after it, as etcd's rules have it
 * (the order of checks, what raises the revision, what is stored).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthStore } from '../../../src/member/auth/auth-store.js';
import { KeyRanges } from '../../../src/member/auth/key-ranges.js';
import { type Permission, PermissionType } from '../../../src/member/auth/records.js';
import { loginIndexOf } from '../../../src/member/auth/simple-tokens.js';
import { type EtcdErrorCode, etcdErrorName } from '../../../src/wire/errors.js';
import { decode } from '../../../src/wire/schema.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const NAMES = ['READ', 'WRITE', 'READWRITE'];

class Stage {
  store = new MemoryStateStore();
  auth = new AuthStore(this.store, 300);

  /** One line of a program: a verb and its arguments. Its answer. */
  run(line: string): string {
    const [verb, ...words] = line.split(' ');
    const [first = '', second = '', third = ''] = words;
    const { auth } = this;
    switch (verb) {
      case 'enable':
        return said(auth.enable());
      case 'disable':
        auth.disable();
        return 'ok';
      case 'user+':
        return said(auth.addUser(first, second === 'bad' ? undefined : bytes(second), second === 'none'));
      case 'user-':
        return said(auth.deleteUser(first));
      case 'passwd':
        return said(auth.changePassword(first, second === 'bad' ? undefined : bytes(second)));
      case 'grant':
        return said(auth.grantRole(first, second));
      case 'revoke':
        return said(auth.revokeRole(first, second));
      case 'role+':
        return said(auth.addRole(first));
      case 'role-':
        return said(auth.deleteRole(first));
      case 'allow':
        return said(auth.grantPermission(first, permission(second, third)));
      case 'forbid':
        return said(auth.revokePermission(first, permission('READ', second) as Permission));
      case 'login': {
        const outcome = auth.authenticate(first, second, Number(third));
        return typeof outcome === 'number' ? etcdErrorName(outcome) : `token ${outcome.token}`;
      }
      case 'token':
        return auth.tokens.use(first) ?? 'unknown';
      default:
        throw new Error(`no verb ${verb}`);
    }
  }

  /** Everything the store has written, as text. */
  state(): string {
    const on = this.store.get('auth', bytes('authEnabled'))?.[0] ?? '-';
    const revision = Buffer.from(this.store.get('auth', bytes('authRevision')) ?? []).readBigUInt64BE();
    const users = this.store.list('authUsers').map(([key, value]) => {
      const { name, password, roles, options } = decode('authpb.User', value);
      assert.deepEqual(Buffer.from(name), Buffer.from(key));
      return `${text(name)}:${text(password)}${options?.no_password === true ? '!' : ''}[${roles.join(',')}]`;
    });
    const roles = this.store.list('authRoles').map(([, value]) => {
      const { name, keyPermission } = decode('authpb.Role', value);
      const permissions = keyPermission.map(
        ({ permType, key, range_end: end }) =>
          `${NAMES[permType]} ${text(key)}${end.length > 0 ? `..${text(end)}` : ''}`,
      );
      return `${text(name)}(${permissions.join(', ')})`;
    });
    return [`on=${on} rev=${revision}`, ...users, ...roles].join(' ').replaceAll('\0', '0');
  }
}

function said(error: EtcdErrorCode | undefined): string {
  return error === undefined ? 'ok' : etcdErrorName(error);
}

/** `a`, `a..c`, `a..` (from a on). */
function permission(type: string, range: string): Permission | undefined {
  if (range === '') return undefined;
  const [key = '', end] = range.split('..');
  const rangeEnd = end === undefined ? '' : end === '' ? '\0' : end;
  return { permType: NAMES.indexOf(type), key: bytes(key), range_end: bytes(rangeEnd) };
}

function text(value: Uint8Array): string {
  return Buffer.from(value).toString('latin1');
}

/** [line, answer, what the state is then where it has changed]. */
type Transcript = readonly (readonly [line: string, answer: string, state?: string])[];

function play(transcript: Transcript): Stage {
  const stage = new Stage();
  let state = stage.state();
  assert.equal(state, 'on=- rev=1');
  for (const [line, answer, after] of transcript) {
    assert.equal(stage.run(line), answer, line);
    assert.equal(stage.state(), after ?? state, `the state after ${line}`);
    state = after ?? state;
    // What is read back is what is in memory.
    const reopened = new AuthStore(stage.store, 300);
    assert.equal(reopened.revision, stage.auth.revision);
    assert.equal(reopened.enabled, stage.auth.enabled);
    assert.deepEqual(reopened.userNames(), stage.auth.userNames());
    for (const name of reopened.userNames()) assert.deepEqual(reopened.user(name), stage.auth.user(name));
    for (const role of reopened.roleNames())
      assert.deepEqual(reopened.permissionsOf(role), stage.auth.permissionsOf(role));
  }
  return stage;
}

test('users, roles and permissions: answers and state, line by line', () => {
  const stage = play([
    ['enable', 'RootUserNotExist'],
    ['user+  p', 'UserEmpty'],
    ['user+ bob bad', 'NoPasswordUser'],
    ['user+ bob p1', 'ok', 'on=- rev=2 bob:p1[]'],
    ['user+ bob p2', 'UserAlreadyExist'],
    ['user+ bob bad', 'UserAlreadyExist'],
    ['user+ cert none', 'ok', 'on=- rev=3 bob:p1[] cert:![]'],
    ['user- eve', 'UserNotFound'],
    ['passwd eve p', 'UserNotFound'],
    ['passwd bob bad', 'NoPasswordUser'],
    ['passwd bob p2', 'ok', 'on=- rev=4 bob:p2[] cert:![]'],
    ['passwd cert p2', 'ok', 'on=- rev=5 bob:p2[] cert:![]'],
    ['grant eve x', 'UserNotFound'],
    ['grant bob x', 'RoleNotFound'],
    ['role+ ', 'RoleEmpty'],
    ['role+ z', 'ok', 'on=- rev=6 bob:p2[] cert:![] z()'],
    ['role+ a', 'ok', 'on=- rev=7 bob:p2[] cert:![] a() z()'],
    ['role+ a', 'RoleAlreadyExist'],
    ['grant bob z', 'ok', 'on=- rev=8 bob:p2[z] cert:![] a() z()'],
    ['grant bob a', 'ok', 'on=- rev=9 bob:p2[a,z] cert:![] a() z()'],
    ['grant bob a', 'ok'],
    ['grant bob root', 'ok', 'on=- rev=10 bob:p2[a,root,z] cert:![] a() z()'],
    ['revoke eve a', 'UserNotFound'],
    ['revoke bob y', 'RoleNotGranted'],
    ['revoke bob root', 'ok', 'on=- rev=11 bob:p2[a,z] cert:![] a() z()'],
    ['allow a READ', 'PermissionNotGiven'],
    ['allow y READ', 'PermissionNotGiven'],
    ['allow y READ k', 'RoleNotFound'],
    ['allow y READ k..b', 'InvalidAuthMgmt'],
    ['allow a READ ..b', 'InvalidAuthMgmt'],
    ['allow a READ k..k', 'InvalidAuthMgmt'],
    ['allow a READ k..p', 'ok', 'on=- rev=12 bob:p2[a,z] cert:![] a(READ k..p) z()'],
    ['allow a WRITE b', 'ok', 'on=- rev=13 bob:p2[a,z] cert:![] a(WRITE b, READ k..p) z()'],
    ['allow a READWRITE k..p', 'ok', 'on=- rev=14 bob:p2[a,z] cert:![] a(WRITE b, READWRITE k..p) z()'],
    ['allow a READ k..', 'ok', 'on=- rev=15 bob:p2[a,z] cert:![] a(WRITE b, READWRITE k..p, READ k..0) z()'],
    ['allow a WRITE k..', 'ok', 'on=- rev=16 bob:p2[a,z] cert:![] a(WRITE b, READWRITE k..p, WRITE k..0) z()'],
    ['forbid a k', 'PermissionNotGranted'],
    ['forbid y k', 'RoleNotFound'],
    ['forbid a k..p', 'ok', 'on=- rev=17 bob:p2[a,z] cert:![] a(WRITE b, WRITE k..0) z()'],
    ['role- y', 'RoleNotFound'],
    ['role- z', 'ok', 'on=- rev=18 bob:p2[a] cert:![] a(WRITE b, WRITE k..0)'],
    ['user- bob', 'ok', 'on=- rev=19 cert:![] a(WRITE b, WRITE k..0)'],
  ]);
  assert.deepEqual(stage.auth.roleNames(), ['a']);
});

test('root: what turning auth on needs, and what it keeps from being undone', () => {
  const root = 'root:r[root]';
  const stage = play([
    ['user+ root r', 'ok', 'on=- rev=2 root:r[]'],
    ['enable', 'RootRoleNotExist'],
    ['grant root root', 'ok', `on=- rev=3 ${root}`],
    ['login root abc 7', 'AuthNotEnabled'],
    ['enable', 'ok', `on=1 rev=3 ${root}`],
    ['enable', 'ok'],
    ['user- root', 'InvalidAuthMgmt'],
    ['revoke root root', 'InvalidAuthMgmt'],
    ['role- root', 'InvalidAuthMgmt'],
    ['role+ root', 'ok', `on=1 rev=4 ${root} root()`],
    ['role- root', 'InvalidAuthMgmt'],
    ['disable', 'ok', `on=0 rev=5 ${root} root()`],
    ['disable', 'ok'],
    ['role- root', 'ok', 'on=0 rev=6 root:r[]'],
    ['user- root', 'ok', 'on=0 rev=7'],
    ['enable', 'RootUserNotExist'],
  ]);
  stage.run('role+ root');
  const [only] = stage.auth.permissionsOf('root') ?? [];
  const everything = { permType: PermissionType.ReadWrite, key: new Uint8Array(0), range_end: new Uint8Array(1) };
  assert.deepEqual(only, everything);
});

test('tokens: who they are, how long, and what ends them', () => {
  const stage = new Stage();
  const tell = (line: string, answer: string): void => assert.equal(stage.run(line), answer, line);
  for (const line of ['user+ root r', 'grant root root', 'user+ bob p', 'user+ cert none', 'enable']) tell(line, 'ok');
  tell('login eve abc 10', 'AuthFailed');
  tell('login cert abc 10', 'AuthFailed');
  tell('login bob abc 11', 'token abc.11');
  tell('login bob  12', 'token ');
  tell('token abc.11', 'bob');
  tell('token abc.12', 'unknown');
  tell('role+ r', 'ok');
  tell('grant bob r', 'ok');
  tell('token abc.11', 'bob');
  tell('passwd bob q', 'ok');
  tell('token abc.11', 'unknown');

  stage.auth.tokens.advance(1_000);
  tell('login bob abc 20', 'token abc.20');
  stage.auth.tokens.advance(300_999);
  tell('token abc.20', 'bob');
  stage.auth.tokens.advance(600_998);
  assert.equal(stage.auth.tokens.size, 1);
  stage.auth.tokens.advance(600_999);
  tell('token abc.20', 'unknown');
  stage.auth.tokens.advance(602_000);
  assert.equal(stage.auth.tokens.size, 0);

  tell('login bob abc 30', 'token abc.30');
  tell('login root abc 31', 'token abc.31');
  tell('user- bob', 'ok');
  tell('token abc.30', 'unknown');
  tell('token abc.31', 'root');
  tell('disable', 'ok');
  tell('enable', 'ok');
  tell('token abc.31', 'unknown');
});

test('the index in a token: only of what could be one', () => {
  const indexes = ['abc.17', '.17', 'abc', 'abc.', 'abc.1x', 'a.b.1', 'abc.-1', '', 'abc.0'].map(loginIndexOf);
  assert.deepEqual(indexes, [17, 17, undefined, undefined, undefined, undefined, undefined, undefined, 0]);
});

test('rights: who is asked, with which identity, and what roles add up to', () => {
  const stage = new Stage();
  const read = (username: string, authRevision: number, key: string, end = ''): string =>
    said(stage.auth.refuseRead({ username, authRevision }, bytes(key), bytes(end)));
  const write = (username: string, authRevision: number, key: string, end = ''): string =>
    said(stage.auth.refuseWrite({ username, authRevision }, bytes(key), bytes(end)));
  const admin = (username: string): string => said(stage.auth.refuseAdmin({ username, authRevision: 0 }));
  assert.equal(read('', 0, 'k'), 'ok', 'with auth off nobody is asked');
  assert.equal(admin(''), 'ok');
  for (const line of ['user+ root r', 'grant root root', 'user+ bob p', 'role+ a', 'role+ b', 'enable']) {
    assert.equal(stage.run(line), 'ok');
  }
  for (const line of ['allow a READ a..c', 'allow b READWRITE c..f', 'grant bob a', 'grant bob b']) {
    assert.equal(stage.run(line), 'ok');
  }
  const now = stage.auth.revision;
  assert.deepEqual(
    [admin(''), admin('eve'), admin('bob'), admin('root')],
    ['UserEmpty', 'UserNotFound', 'PermissionDenied', 'ok'],
  );
  assert.equal(read('', 0, 'a'), 'UserEmpty');
  assert.equal(read('bob', now - 1, 'a'), 'AuthOldRevision');
  assert.equal(read('root', now - 1, 'a'), 'AuthOldRevision');
  assert.equal(read('bob', now + 1, 'a'), 'ok', 'a token may come from a member that is ahead');
  assert.equal(read('eve', now, 'a'), 'PermissionDenied');
  assert.equal(read('root', now, 'zzz', '\0'), 'ok');
  assert.equal(read('bob', now, 'a', 'f'), 'ok', 'two roles side by side');
  assert.equal(read('bob', now, 'a', 'g'), 'PermissionDenied');
  assert.equal(write('bob', now, 'b', 'd'), 'PermissionDenied');
  assert.equal(write('bob', now, 'c', 'f'), 'ok');
  stage.run('revoke bob b');
  assert.equal(read('bob', now + 1, 'a', 'f'), 'PermissionDenied', 'at once');
  assert.equal(stage.auth.hasRole('bob', 'a'), true);
  assert.equal(stage.auth.hasRole('bob', 'b'), false);
});

test('key ranges: every union of grants says of every question what its keys say one by one', () => {
  const ends = ['', '\0', 'b', 'c', 'd', 'e'];
  const keys = ['a', 'a\0', 'b', 'c', 'd', 'e', 'f', 'zz'];
  const within = (key: string, from: string, end: string): boolean =>
    end === '' ? key === from : key >= from && (end === '\0' || key < end);
  const grants = ['a', 'b', 'c', 'd'].flatMap(key => ends.map(end => ({ key, end })));
  let asked = 0;
  for (const one of grants) {
    for (const other of grants) {
      const granted = [one, other].map(({ key, end }) => ({ key: bytes(key), range_end: bytes(end) }));
      const ranges = new KeyRanges(granted);
      const valid = [one, other].filter(({ key, end }) => end === '' || end === '\0' || key < end);
      const holds = (key: string): boolean => valid.some(({ key: from, end }) => within(key, from, end));
      for (const key of keys) {
        for (const end of ends) {
          asked += 1;
          // Between two neighbours of this list nothing begins or ends but single keys, whose successors are asked for.
          const inside = [...keys, 'b\0', 'c\0', 'd\0', 'e\0'].filter(each => within(each, key, end));
          const expected = inside.length === 0 ? holds(key) : inside.every(holds);
          assert.equal(ranges.covers(bytes(key), bytes(end)), expected, JSON.stringify({ one, other, key, end }));
        }
      }
    }
  }
  assert.ok(asked > 20_000);
});
