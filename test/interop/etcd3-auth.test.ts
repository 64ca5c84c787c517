/**
 * npm's etcd3 with users, roles and passwords: what its manual says, on real etcd and on kvorum. Each call's result, or
 * the kind of error the client makes of a refusal, has to be the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Etcd3, Range } from 'etcd3';
import type { Family } from '../support/differential.js';
import { type DisturbedCluster, startDisturbedCluster } from '../support/disturbed-cluster.js';
import { requireEtcd } from '../support/etcd.js';

const families: readonly Family[] = ['etcd-3.5', 'kvorum'];

test('npm etcd3 with credentials', { timeout: 60_000 }, async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  const [reference, ...others] = await Promise.all(families.map(transcript));
  for (const one of others) assert.deepEqual(one, reference);
  assert.ok(reference!.includes('a token that became void: the client logs in again and reads "of ann"'));
});

async function transcript(family: Family): Promise<string[]> {
  const cluster = await startDisturbedCluster(family, { bcryptCost: 4 });
  const lines: string[] = [];
  const clients: Etcd3[] = [];
  try {
    await play(new Script(cluster, lines, clients));
  } finally {
    for (const client of clients) client.close();
    await cluster.stop();
  }
  return lines;
}

class Script {
  readonly #cluster: DisturbedCluster;
  readonly #lines: string[];
  readonly #clients: Etcd3[];

  constructor(cluster: DisturbedCluster, lines: string[], clients: Etcd3[]) {
    this.#cluster = cluster;
    this.#lines = lines;
    this.#clients = clients;
  }

  as(username?: string, password = username): Etcd3 {
    const auth = username === undefined ? {} : { auth: { username, password: password ?? '' } };
    const client = new Etcd3({ hosts: [...this.#cluster.endpoints], ...auth });
    this.#clients.push(client);
    return client;
  }

  /** Notes what a call gives. */
  async note(what: string, call: () => Promise<unknown>): Promise<void> {
    try {
      this.#lines.push(`${what} ${JSON.stringify(await call())}`);
    } catch (error) {
      assert.ok(error instanceof Error);
      this.#lines.push(`${what} ${error.constructor.name}: ${error.message}`);
    }
  }
}

async function play(script: Script): Promise<void> {
  const open = script.as();
  await open.put('ann/1').value('of ann');
  await open.put('ben/1').value('of ben');
  const role = open.role('one');
  await role.create();
  await script.note('a role again', () => role.create());
  await role.grant([
    { permission: 'Readwrite', range: Range.prefix('ann/') },
    { permission: 'Read', key: 'ben/1' },
  ]);
  await script.note('its permissions', () => role.permissions());
  await open.user('root').create('root');
  await open.user('root').addRole('root');
  await open.user('ann').create('ann');
  await script.note('a user again', () => open.user('ann').create('ann'));
  await open.user('ann').addRole(role);
  await script.note('roles of ann', async () => (await open.user('ann').roles()).map(({ name }) => name));
  await script.note('roles of nobody', () => open.user('nobody').roles());
  await script.note('a wrong role', () => open.user('ann').removeRole('other'));
  await script.note('a login before there is auth', () => script.as('ann').get('ann/1').string());
  await open.auth.authEnable();
  await script.note('nobody reads', () => open.get('ann/1').string());
  await script.note('a wrong password', () => script.as('ann', 'wrong').get('ann/1').string());
  await script.note('an unknown user', () => script.as('zoe').get('ann/1').string());
  const [root, ann] = [script.as('root'), script.as('ann')];
  await use(script, ann);
  await script.note('ann makes a user', () => ann.user('eve').create('eve'));
  await script.note('ann deletes a role', () => ann.role('one').delete());
  await script.note('root lists users', async () => (await root.getUsers()).map(({ name }) => name));
  await script.note('root lists roles', async () => (await root.getRoles()).map(({ name }) => name));
  // A role taken away counts at once; a changed password makes the token void.
  await root.user('ann').removeRole('one');
  await script.note('without the role', () => ann.get('ann/1').string());
  await root.user('ann').addRole('one');
  await script.note('with the role again', () => ann.get('ann/1').string());
  await root.user('ann').setPassword('other');
  await script.note('after a new password, with the old', () => ann.get('ann/1').string());
  await root.user('ann').setPassword('ann');
  await script.note('a token that became void: the client logs in again and reads', () => ann.get('ann/1').string());
  await root.user('ann').delete();
  await script.note('a deleted user', () => ann.get('ann/1').string());
  await root.auth.authDisable();
  await script.note('nobody reads what is open again', () => script.as().get('ben/1').string());
}

async function use(script: Script, ann: Etcd3): Promise<void> {
  await script.note('ann reads her own', () => ann.get('ann/1').string());
  await script.note('ann reads what she may', () => ann.get('ben/1').string());
  await script.note('ann writes what she may not', async () => void (await ann.put('ben/1').value('mine')));
  await script.note('ann reads all of hers', () => ann.getAll().prefix('ann/').strings());
  await script.note('ann reads everything', () => ann.getAll().strings());
  await script.note('ann deletes her own', async () => (await ann.delete().key('ann/2')).deleted);
  await script.note('a transaction she may do', async () => {
    const { succeeded } = await ann.if('ann/1', 'Version', '>', 0).then(ann.put('ann/3').value('3')).commit();
    return succeeded;
  });
  await script.note('a transaction she may not', async () => {
    const { succeeded } = await ann.if('ann/1', 'Version', '>', 0).then(ann.put('z').value('')).commit();
    return succeeded;
  });
  // The client counts the seconds of a lease it has revoked when an answer comes late: they are to be few.
  const lease = ann.lease(60, { autoKeepAlive: false });
  await script.note('a key with a lease', async () => (await lease.put('ann/leased').value('x')) !== undefined);
  await lease.revoke();
  await script.note('the key is gone', () => ann.get('ann/leased').string());
  await script.note('a lock of hers', () =>
    ann
      .lock('ann/lock')
      .ttl(1)
      .do(() => 'held'),
  );
  await script.note('a lock elsewhere', () =>
    ann
      .lock('lock')
      .ttl(1)
      .do(() => 'held'),
  );
  await script.note('a watch', async () => {
    const watcher = await ann.watch().prefix('ann/').create();
    const event = new Promise(resolve => watcher.on('put', ({ key, value }) => resolve(`${key}=${value}`)));
    await ann.put('ann/watched').value('w');
    const seen = await event;
    await watcher.cancel();
    return seen;
  });
}
