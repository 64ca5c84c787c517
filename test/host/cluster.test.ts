/**
 * Clusters of real threads, through the library: what survives a restart, what a member's death does to the others.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  ClosedError,
  type Cluster,
  type ClusterMember,
  type ClusterOptions,
  EtcdError,
  StartError,
  startCluster,
} from '../../src/index.js';

let base = '';
let open: Cluster[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(async () => {
  for (const cluster of open) await cluster.close();
  open = [];
  rmSync(base, { recursive: true, force: true });
});

async function start(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', ...options });
  open.push(cluster);
  return cluster;
}

function followerOf(cluster: Cluster): ClusterMember {
  return cluster.members.find(member => member !== cluster.leader()) as ClusterMember;
}

async function isListening(endpoint: string): Promise<boolean> {
  const { hostname, port } = new URL(endpoint);
  return new Promise(resolve => {
    const socket = connect(Number(port), hostname);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

test('a new cluster serves, and its ids are those etcd would compute', async () => {
  const cluster = await start();
  assert.equal(cluster.endpoints.length, 3);
  assert.equal(new Set(cluster.endpoints).size, 3);
  assert.ok(cluster.leader() !== undefined);
  const { revision } = await cluster.client().put('k', 'v');
  assert.equal(revision, 2);
  const members = await cluster.client().memberList();
  assert.deepEqual(members.map(member => member.name).sort(), ['m1', 'm2', 'm3']);
  assert.equal(existsSync(cluster.dataDir), true);
  await cluster.close();
  assert.equal(existsSync(cluster.dataDir), false, 'ephemeral');
});

test('the client’s errors are etcd’s, by class, code and text', async () => {
  const cluster = await start({ members: 1 });
  await assert.rejects(cluster.client().put('', 'v'), (error: Error) => {
    assert.ok(error instanceof EtcdError);
    assert.equal(error.code, 3);
    assert.equal(error.message, 'etcdserver: key is not provided');
    return true;
  });
  const signal = AbortSignal.abort(new Error('changed my mind'));
  await assert.rejects(cluster.client().get('k', { signal }), /changed my mind/);
});

test('what was written before a close is there after it, at its revision', async () => {
  const dataDir = join(base, 'data');
  const first = await start({ dataDir });
  const { revision } = await first.client().put('k', 'v1');
  await first.close();
  const second = await start({ dataDir });
  const kv = await second.client().get('k');
  assert.equal(kv?.modRevision, revision);
  assert.equal((await second.client().put('k', 'v2')).revision, revision + 1);
});

for (const members of [1, 2, 5]) {
  test(`${members} members`, async () => {
    const cluster = await start({ members });
    await cluster.client().put('k', 'v');
    assert.equal((await cluster.client().memberList()).length, members);
  });
}

test('a stopped member’s endpoint is closed; started again it catches up on the same endpoint', async () => {
  const cluster = await start();
  const member = followerOf(cluster);
  const { endpoint } = member;
  await member.stop();
  assert.equal(member.running, false);
  assert.equal(await isListening(endpoint), false);
  for (let at = 0; at < 100; at++) await cluster.client().put(`k${at}`, 'v');
  await member.start();
  assert.equal(member.endpoint, endpoint);
  assert.equal(await isListening(endpoint), true);
  const health = await fetch(`${endpoint}/health`);
  assert.equal(health.status, 200, 'a linearizable read through the restarted member');
});

test('a killed leader is replaced, and nothing acknowledged is lost', async () => {
  const cluster = await start({ dataDir: join(base, 'data') });
  for (let at = 0; at < 50; at++) await cluster.client().put(`k${at}`, 'v');
  const former = cluster.leader() as ClusterMember;
  await former.kill();
  await cluster.client().put('after', 'v');
  assert.notEqual(cluster.leader(), former);
  assert.equal((await cluster.client().getAll({ prefix: 'k' })).kvs.length, 50);
  await former.start();
  assert.equal((await fetch(`${former.endpoint}/health`)).status, 200);
});

test('every member can be taken down and brought back in turn', async () => {
  const cluster = await start();
  for (const [at, member] of cluster.members.entries()) {
    await member.kill();
    await cluster.client().put(`while ${member.name} is down`, String(at));
    await member.start();
  }
  assert.equal((await cluster.client().getAll({ prefix: 'while' })).kvs.length, 3);
});

test('close is idempotent and the cluster disposes itself', async () => {
  const cluster = await start({ members: 1 });
  await Promise.all([cluster.close(), cluster.close()]);
  await cluster[Symbol.asyncDispose]();
  await assert.rejects(cluster.client().get('k'), /server stopped/);
});

test('a start that cannot work leaves nothing running', async () => {
  writeFileSync(join(base, 'file'), '');
  await assert.rejects(startCluster({ dataDir: join(base, 'file') }), StartError);
  const cluster = await start({ members: 1, dataDir: join(base, 'data') });
  await assert.rejects(startCluster({ members: 1, dataDir: join(base, 'data') }), /in use by process/);
  const port = Number(new URL(cluster.endpoints[0] as string).port);
  await assert.rejects(startCluster({ ports: [0, 0, port] }), /is in use/);
  await cluster.client().put('still', 'fine');
});

test('a member’s directory of another cluster is refused with the reason', async () => {
  const a = await start({ members: 1, dataDir: join(base, 'a'), token: 'a' });
  await a.close();
  const b = await start({ members: 1, dataDir: join(base, 'b'), token: 'b' });
  await b.close();
  const { cpSync } = await import('node:fs');
  rmSync(join(base, 'a', 'm1'), { recursive: true });
  cpSync(join(base, 'b', 'm1'), join(base, 'a', 'm1'), { recursive: true });
  await assert.rejects(
    startCluster({ members: 1, dataDir: join(base, 'a'), token: 'a', logLevel: 'silent' }),
    (error: Error) => {
      assert.ok(error instanceof StartError);
      assert.match(error.message, /cluster/);
      return true;
    },
  );
});

test('a member whose directory is lost does not start empty under its old id', async () => {
  const dataDir = join(base, 'data');
  const cluster = await start({ dataDir });
  await cluster.client().put('k', 'v');
  await cluster.close();
  rmSync(join(dataDir, 'm2'), { recursive: true });
  await assert.rejects(startCluster({ dataDir, logLevel: 'silent' }), /the data of member m2 is gone from/);
});

test('a closed cluster ends its clients’ watches, leases and waiting locks, and refuses what comes after', async () => {
  const cluster = await start({ members: 1 });
  const client = cluster.client();
  const watch = client.watch('a');
  await watch.created;
  const lease = await client.lease({ ttlSeconds: 10 });
  const lock = await client.lock('jobs', { lease });
  const waiting = cluster.client().lock('jobs');
  const ended = Promise.all([
    assert.rejects(async () => {
      for await (const _event of watch) assert.fail('nothing happened to a');
    }, ClosedError),
    assert.rejects(waiting),
  ]);
  await cluster.close();
  await ended;
  for (const { lost } of [lock, lease]) if (!lost.aborted) await once(lost, 'abort');
  await assert.rejects(client.put('a', 'b'), /server stopped/);
});

test('closing one client leaves the others alone', async () => {
  const cluster = await start({ members: 1 });
  const closed = cluster.client();
  const watch = closed.watch('a');
  await watch.created;
  closed.close();
  await assert.rejects(watch[Symbol.asyncIterator]().next(), ClosedError);
  await assert.rejects(closed.put('a', 'b'), ClosedError);
  assert.equal((await cluster.client().put('a', 'b')).revision, 2);
});
