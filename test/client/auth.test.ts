/**
 * The client with auth on: against a real etcd and against kvorum, the same cases.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connect, type EtcdClient, startCluster } from '../../src/index.js';
import { requireEtcd, startEtcd } from '../support/etcd.js';

interface Place {
  readonly endpoints: readonly string[];
  stop(): Promise<void>;
}

const places: Readonly<Record<string, (context: TestContext) => Promise<Place | undefined>>> = {
  'etcd 3.5': async context => {
    if ((await requireEtcd(context, '3.5')) === undefined) return undefined;
    return startEtcd({ version: '3.5', members: 1, flags: ['--bcrypt-cost', '4'] });
  },
  kvorum: async () => {
    const cluster = await startCluster({ members: 3, logLevel: 'silent', bcryptCost: 4 });
    return { endpoints: cluster.endpoints, stop: () => cluster.close() };
  },
};

for (const [name, start] of Object.entries(places)) {
  test(name, { timeout: 60_000 }, async context => {
    const place = await start(context);
    if (place === undefined) return;
    const clients: EtcdClient[] = [];
    const as = (username?: string, password?: string): EtcdClient => {
      const credentials = username === undefined ? {} : { username, password: password ?? '' };
      const client = connect({ endpoints: place.endpoints, ...credentials });
      clients.push(client);
      return client;
    };
    try {
      await program(context, as);
    } finally {
      for (const client of clients) client.close();
      await place.stop();
    }
  });
}

async function program(context: TestContext, as: (username?: string, password?: string) => EtcdClient): Promise<void> {
  const nobody = as();
  const root = as('root', 'secret');
  const ann = as('ann', 'wonder');

  await context.test('users and roles', async () => {
    await nobody.user.add('root', 'secret');
    await nobody.user.add('ann', 'wonder');
    await nobody.user.add('bare', undefined);
    await assert.rejects(nobody.user.add('ann', 'x'), { code: 9, message: 'etcdserver: user name already exists' });
    await assert.rejects(nobody.user.add('long', 'x'.repeat(73)), { message: /bcrypt|72/ });
    assert.deepEqual(await nobody.user.list(), ['ann', 'bare', 'root']);
    await nobody.role.add('readers');
    await nobody.role.add('root');
    await nobody.role.grantPermission('readers', { prefix: 'public/' }, 'read');
    await nobody.role.grantPermission('readers', 'own', 'readwrite');
    const granted = (await nobody.role.get('readers')).map(({ type, keyBytes, rangeEndBytes }) => [
      type,
      Buffer.from(keyBytes).toString(),
      Buffer.from(rangeEndBytes).toString(),
    ]);
    assert.deepEqual(granted, [
      ['readwrite', 'own', ''],
      ['read', 'public/', 'public0'],
    ]);
    await nobody.role.add('gone');
    await nobody.role.delete('gone');
    assert.deepEqual(await nobody.role.list(), ['readers', 'root']);
    await nobody.user.grantRole('ann', 'readers');
    await nobody.user.grantRole('root', 'root');
    assert.deepEqual(await nobody.user.get('ann'), ['readers']);
    const { enabled, revision } = await nobody.auth.status();
    assert.equal(enabled, false);
    await nobody.role.revokePermission('readers', 'own');
    await nobody.role.grantPermission('readers', 'own', 'readwrite');
    assert.equal((await nobody.auth.status()).revision, revision + 2);
  });

  await context.test('a client with a password before auth is on, and after', async () => {
    await ann.put('own', 'before');
    await assert.rejects(nobody.auth.authenticate('ann', 'wonder'), {
      code: 9,
      message: 'etcdserver: authentication is not enabled',
    });
    await nobody.auth.enable();
    assert.equal((await ann.get('own'))?.value, 'before');
    await assert.rejects(nobody.get('own'), { code: 3, message: 'etcdserver: user name is empty' });
    await root.put('public/a', '1');
    assert.equal((await ann.get('public/a'))?.value, '1');
    const denied = { code: 7, message: 'etcdserver: permission denied' };
    await assert.rejects(ann.put('public/a', '2'), denied);
    await assert.rejects(ann.get('other'), denied);
    assert.deepEqual(await ann.user.get('ann'), ['readers']);
    await assert.rejects(ann.user.list(), denied);
    assert.deepEqual(await root.auth.status().then(({ enabled }) => enabled), true);
  });

  await context.test('logins that fail', async () => {
    const failed = { code: 3, message: 'etcdserver: authentication failed, invalid user ID or password' };
    await assert.rejects(as('ann', 'wrong').get('own'), failed);
    await assert.rejects(as('nobody', 'x').get('own'), failed);
    await assert.rejects(as('ann').get('own'), failed);
    await assert.rejects(as('bare', 'x').get('own'), { message: /password was given for no password user/ });
    assert.match(await root.auth.authenticate('ann', 'wonder'), /^[a-zA-Z]{16}\.\d+$/);
  });

  await context.test('tokens that end under a client: calls, watches, leases and snapshots go on', async () => {
    // Setting a password, if only to what it is, ends the user's tokens.
    const endTokens = async (): Promise<void> => {
      await root.user.changePassword('ann', 'wonder');
      await root.user.changePassword('root', 'secret');
    };
    await ann.get('own');
    await endTokens();
    const gets = Array.from({ length: 20 }, () => ann.get('own'));
    for (const kv of await Promise.all(gets)) assert.equal(kv?.value, 'before');
    await ann.put('own', 'after');

    await endTokens();
    await using lease = await root.lease({ ttlSeconds: 60 });
    await root.put('public/leased', 'x', { lease });

    await endTokens();
    using watch = ann.watch({ prefix: 'public/' });
    await watch.created;
    await root.put('public/b', '3');
    for await (const { kv } of watch) {
      assert.deepEqual([kv.key, kv.value], ['public/b', '3']);
      break;
    }

    await endTokens();
    let bytes = 0;
    for await (const piece of root.snapshot()) bytes += piece.bytes.length;
    assert.ok(bytes > 10_000);

    using refused = ann.watch('other');
    await assert.rejects(refused.created, { code: 7, message: 'etcdserver: permission denied' });
  });

  await context.test('auth off again', async () => {
    await root.auth.disable();
    await nobody.put('other', 'x');
    assert.equal((await ann.get('other'))?.value, 'x');
    await nobody.user.revokeRole('ann', 'readers');
    await nobody.user.delete('ann');
    assert.deepEqual(await nobody.user.list(), ['bare', 'root']);
  });
}
