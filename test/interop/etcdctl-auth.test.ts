/**
 * etcdctl's auth, user and role commands, and what its other commands show to users with few rights, against kvorum
 * and against real etcd.
 *
 * Left out is what changed with 3.6 (test/auth/differences.ts): the refusals of compactions and maintenance calls, and
 * what the role root may.
 */
import { test } from 'node:test';
import { compareReleases, type Stage } from '../support/control-stage.js';

const formats = ['simple', 'json', 'fields', 'table'] as const;

async function users(stage: Stage): Promise<void> {
  await stage.run('user', 'list');
  await stage.run('user', 'add', 'ann:secret');
  await stage.run('user', 'add', 'ann:secret');
  await stage.run('user', 'add', 'ben', '--new-user-password=secret', '-w', 'json');
  await stage.command({ flags: ['user', 'add', 'cid', '--interactive=false'], input: 'secret\n' });
  await stage.run('user', 'add', 'dan', '--no-password', '-w', 'fields');
  await stage.run('user', 'add', 'eve', '--no-password', '-w', 'table');
  await stage.run('user', 'add', ':secret');
  await stage.run('user', 'add');
  await stage.run('user', 'add', `long:${'x'.repeat(73)}`);
  await stage.run('role', 'add', 'one');
  await stage.run('role', 'add', 'two');
  await stage.run('role', 'grant-permission', 'one', 'read', 'key');
  await stage.run('user', 'grant-role', 'ann', 'two');
  await stage.run('user', 'grant-role', 'ann', 'one', '-w', 'json');
  await stage.run('user', 'grant-role', 'ann', 'one');
  await stage.run('user', 'grant-role', 'ann', 'three');
  await stage.run('user', 'grant-role', 'zoe', 'one');
  await stage.run('user', 'grant-role', 'ann');
  for (const format of formats) {
    await stage.run('user', 'list', '-w', format);
    await stage.run('user', 'get', 'ann', '-w', format);
  }
  await stage.run('user', 'get', 'ann', '--detail');
  await stage.run('user', 'get', 'dan');
  await stage.run('user', 'get', 'zoe');
  await stage.run('user', 'revoke-role', 'ann', 'one');
  await stage.run('user', 'revoke-role', 'ann', 'one', '-w', 'json');
  await stage.run('user', 'revoke-role', 'zoe', 'one');
  await stage.command({ flags: ['user', 'passwd', 'ann', '--interactive=false'], input: 'other\n' });
  await stage.command({ flags: ['user', 'passwd', 'zoe', '--interactive=false'], input: 'other\n' });
  await stage.command({ flags: ['user', 'passwd', 'dan', '--interactive=false', '-w', 'json'], input: 'other\n' });
  for (const name of ['ann', 'ben', 'cid', 'dan', 'eve']) await stage.run('user', 'delete', name);
  await stage.run('user', 'delete', 'ann');
  await stage.run('user', 'delete', 'zoe', '-w', 'json');
  for (const name of ['one', 'two']) await stage.run('role', 'delete', name, '-w', 'json');
}

async function roles(stage: Stage): Promise<void> {
  const grants: readonly (readonly string[])[] = [
    ['read', 'foo'],
    ['write', 'foo'],
    ['readwrite', 'foo'],
    ['read', 'a', 'c'],
    ['write', 'pre/', '--prefix=true'],
    ['readwrite', 'x', '--from-key=true'],
    ['read', '', '--prefix=true'],
    ['read', 'a', 'c', '--prefix=true'],
    ['read', 'c', 'a'],
    ['own', 'foo'],
    ['read'],
  ];
  await stage.run('role', 'list');
  await stage.run('role', 'add', 'one');
  await stage.run('role', 'add', 'one');
  await stage.run('role', 'add', 'two', '-w', 'json');
  await stage.run('role', 'add', '');
  await stage.run('role', 'add');
  for (const grant of grants) await stage.run('role', 'grant-permission', 'one', ...grant);
  await stage.run('role', 'grant-permission', 'none', 'read', 'foo');
  await stage.run('role', 'grant-permission', 'two', 'read', 'foo', '-w', 'json');
  for (const format of formats) {
    await stage.run('role', 'list', '-w', format);
    await stage.run('role', 'get', 'one', '-w', format);
  }
  await stage.run('role', 'get', 'none');
  await stage.run('role', 'revoke-permission', 'one', 'foo');
  await stage.run('role', 'revoke-permission', 'one', 'foo');
  await stage.run('role', 'revoke-permission', 'one', 'a', 'c');
  await stage.run('role', 'revoke-permission', 'one', 'pre/', '--prefix=true');
  await stage.run('role', 'revoke-permission', 'one', 'x', '--from-key=true', '-w', 'json');
  await stage.run('role', 'revoke-permission', 'none', 'foo');
  await stage.run('role', 'get', 'one');
  await stage.run('role', 'delete', 'one');
  await stage.run('role', 'delete', 'one');
  await stage.run('role', 'delete', 'two', '-w', 'fields');
}

const asRoot = ['--user=root:top'];
const asAnn = ['--user=ann', '--password=secret'];

async function enabled(stage: Stage): Promise<void> {
  await stage.run('auth', 'status');
  await stage.run('auth', 'enable');
  await stage.run('user', 'add', 'root:top');
  await stage.run('user', 'add', 'ann:secret');
  await stage.run('user', 'add', 'dan', '--no-password');
  await stage.run('role', 'add', 'one');
  await stage.run('role', 'grant-permission', 'one', 'read', 'r/', '--prefix=true');
  await stage.run('role', 'grant-permission', 'one', 'readwrite', 'w/', '--prefix=true');
  await stage.run('user', 'grant-role', 'ann', 'one');
  await stage.run('put', 'r/1', 'readable');
  await stage.run('put', 'secret', 'hidden');
  await stage.run('get', 'r/1', ...asAnn);
  await stage.run('auth', 'enable');
  await stage.run('get', 'r/1');
  await stage.run('put', 'r/1', 'v');
  await stage.run('auth', 'enable');
  await stage.run('user', 'list');
  await stage.run('get', 'r/1', '--user=ann:wrong');
  await stage.run('get', 'r/1', '--user=zoe:secret');
  await stage.run('get', 'r/1', '--user=dan:x');
  await asUser(stage);
  await asAdministrator(stage);
  await stage.run('auth', 'disable', ...asAnn);
  await stage.run('auth', 'disable', ...asRoot);
  await stage.run('auth', 'disable');
  await stage.run('auth', 'status', '-w', 'json');
  await stage.run('get', 'secret');
}

async function asUser(stage: Stage): Promise<void> {
  const ann = (...flags: string[]) => stage.run(...flags, ...asAnn);
  await ann('get', 'r/', '--prefix');
  await ann('get', 'r/1', '--consistency=s', '-w', 'json');
  await ann('get', 'secret');
  await ann('get', '', '--prefix');
  await ann('put', 'w/1', 'written', '-w', 'json');
  await ann('put', 'r/1', 'overwritten');
  await ann('del', 'w/1', '--prev-kv');
  await ann('del', 'secret');
  await stage.command({ flags: ['txn', ...asAnn], input: 'ver("r/1") = "1"\n\nput w/2 in\n\nget w/2\n\n' });
  await stage.command({ flags: ['txn', ...asAnn], input: 'ver("r/1") = "1"\n\nput w/2 in\n\nget secret\n\n' });
  await stage.command({ flags: ['txn', ...asAnn], input: 'ver("secret") = "1"\n\nput w/2 in\n\n\n' });
  await ann('auth', 'status');
  await ann('auth', 'enable');
  await ann('user', 'list');
  await ann('user', 'get', 'ann');
  await ann('user', 'get', 'root');
  await ann('user', 'add', 'eve:x');
  await stage.command({ flags: ['user', 'passwd', 'ann', '--interactive=false', ...asAnn], input: 'other\n' });
  await ann('role', 'get', 'one');
  await ann('role', 'get', 'root');
  await ann('role', 'add', 'mine');
  await ann('member', 'list');
  await ann('member', 'remove', '1234abcd');
  await ann('watch', 'secret');
  await ann('lock', 'secret/lock', 'echo', 'held');
  await ann('lock', 'w/lock', 'echo', 'held');
}

async function asAdministrator(stage: Stage): Promise<void> {
  const root = (...flags: string[]) => stage.run(...flags, ...asRoot);
  await root('auth', 'status');
  await root('auth', 'enable');
  await root('user', 'get', 'ann', '--detail');
  await root('get', '', '--prefix');
  await root('put', 'anything', 'goes');
  await root('user', 'delete', 'root');
  await root('user', 'revoke-role', 'root', 'root');
  await root('role', 'delete', 'root');
  await root('user', 'revoke-role', 'ann', 'one');
  await stage.run('get', 'r/1', ...asAnn);
  await root('user', 'grant-role', 'ann', 'one');
  await stage.run('get', 'r/1', ...asAnn);
  await stage.command({ flags: ['user', 'passwd', 'ann', '--interactive=false', ...asRoot], input: 'other\n' });
  await stage.run('get', 'r/1', ...asAnn);
  await stage.run('get', 'r/1', '--user=ann:other');
  await root('role', 'delete', 'one', '-w', 'json');
  await stage.run('get', 'r/1', '--user=ann:other');
  await root('user', 'delete', 'ann', '-w', 'json');
  await stage.run('get', 'r/1', '--user=ann:other');
  await root('alarm', 'list');
  await root('endpoint', 'health');
  await root('member', 'list');
}

test('auth, user and role commands, beside both releases of etcd', t =>
  compareReleases(t, ['etcd-3.5', 'kvorum'], { users, roles, enabled }, { members: 1, flags: ['--bcrypt-cost=4'] }));
