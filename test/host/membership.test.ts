/**
 * Members come and go while the cluster runs: through the library, and through any client of the Cluster service.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Cluster,
  type ClusterMember,
  type ClusterOptions,
  connect,
  type EtcdClient,
  startCluster,
} from '../../src/index.js';
import { scrape } from '../support/exposition.js';

let base = '';
let open: Cluster[] = [];
let clients: EtcdClient[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(async () => {
  for (const client of clients) client.close();
  for (const cluster of open) await cluster.close();
  open = [];
  clients = [];
  rmSync(base, { recursive: true, force: true });
});

async function start(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', strictReconfigCheck: false, ...options });
  open.push(cluster);
  return cluster;
}

/** A client of one member alone. */
function clientOf({ endpoint }: ClusterMember): EtcdClient {
  const client = connect({ endpoints: [endpoint] });
  clients.push(client);
  return client;
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, what);
    await delay(10);
  }
}

async function namesListed(cluster: Cluster): Promise<string[]> {
  return (await cluster.client().memberList()).map(({ name }) => name).sort();
}

test('an added member has everything, serves, and comes back on its endpoint after a restart', async () => {
  const options = { dataDir: join(base, 'data'), members: 1, snapshotCount: 50, snapshotCatchUpEntries: 5 };
  const cluster = await start(options);
  for (let at = 0; at < 200; at++) await cluster.client().put(`k${at}`, 'v');
  const added = await cluster.addMember();
  assert.equal(added.running, true);
  assert.deepEqual(cluster.endpoints, [cluster.members[0]?.endpoint, added.endpoint]);
  const { kvs } = await clientOf(added).getAll({ prefix: 'k' }, { serializable: true });
  assert.equal(kvs.length, 200, 'by snapshot: the log is compacted');
  assert.deepEqual(await namesListed(cluster), ['m1', 'm2']);
  await added.kill();
  await added.start();
  await clientOf(added).put('through the added one', 'v');
  await cluster.close();

  const again = await start(options);
  assert.deepEqual(again.members.map(({ name, id, endpoint }) => [name, id, endpoint]).slice(1), [
    ['m2', added.id, added.endpoint],
  ]);
  assert.equal((await clientOf(again.members[1] as ClusterMember).getAll({ prefix: 'k' })).kvs.length, 200);
});

test('with metrics URLs an added member has one, which stays its own; so do those of the others', async () => {
  const listenMetricsUrls = ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'http://127.0.0.1:0'];
  const cluster = await start({ dataDir: join(base, 'data'), listenMetricsUrls });
  const added = await cluster.addMember();
  const shows = async (member: ClusterMember): Promise<boolean> => {
    const { families } = await scrape(member.metricsUrl as string);
    return families.get('etcd_server_id')?.series.get(`etcd_server_id{server_id="${member.id}"}`) === 1;
  };
  assert.equal(await shows(added), true);
  await cluster.removeMember('m1');
  const listen = cluster.members.map(({ endpoint, metricsUrl }) => [endpoint, metricsUrl] as const);
  const founding = listen.slice(0, 2);
  await cluster.close();
  const again = await start({
    dataDir: join(base, 'data'),
    listenClientUrls: ['http://127.0.0.1:0', ...founding.map(([client]) => client)],
    listenMetricsUrls: ['http://127.0.0.1:0', ...founding.map(([, metrics]) => metrics as string)],
  });
  assert.deepEqual(
    again.members.map(({ endpoint, metricsUrl }) => [endpoint, metricsUrl]),
    listen,
  );
  for (const member of again.members) assert.equal(await shows(member), true);
  await again.close();
  const without = await start({ dataDir: join(base, 'data') });
  assert.deepEqual(
    without.members.map(({ metricsUrl }) => metricsUrl),
    [undefined, undefined, undefined],
  );
});

test('a removed member ends, its data goes, its id never comes back, not over a restart either', async () => {
  const options = { dataDir: join(base, 'data') };
  const cluster = await start(options);
  const [first] = cluster.members as [ClusterMember];
  const began = performance.now();
  await cluster.removeMember('m1');
  assert.ok(performance.now() - began >= 1_000, 'it goes on for a second, as etcd’s');
  assert.equal(first.running, false);
  assert.equal(existsSync(join(options.dataDir, 'm1')), false);
  await assert.rejects(first.start(), /was removed from the cluster/);
  await assert.rejects(cluster.removeMember('m1'), /no member m1/);
  await assert.rejects(cluster.client().memberRemove(BigInt(`0x${first.id}`)), /etcdserver: member not found/);
  await cluster.client().put('k', 'v');
  await cluster.close();
  const again = await start(options);
  assert.deepEqual(
    again.members.map(({ name }) => name),
    ['m2', 'm3'],
  );
  assert.deepEqual(await namesListed(again), ['m2', 'm3']);
  const added = await again.addMember();
  assert.equal(added.name, 'm4', 'nor does its name');
  await assert.rejects(again.client().memberPromote(BigInt(`0x${first.id}`)), /etcdserver: member not found/);
});

test('a learner serves what it can say alone, and votes once promoted, whoever is asked to', async () => {
  const cluster = await start();
  await cluster.client().put('k', 'v');
  const learner = await cluster.addMember({ learner: true });
  const client = clientOf(learner);
  assert.equal((await client.get('k', { serializable: true }))?.modRevision, 2);
  assert.equal((await client.status()).isLearner, true);
  const refused = /etcdserver: rpc not supported for learner/;
  await assert.rejects(client.get('k'), refused);
  await assert.rejects(client.put('k', 'v'), refused);
  await assert.rejects(client.memberList(), refused);
  assert.equal((await fetch(`${learner.endpoint}/health`)).status, 200, 'its own health it may ask for');
  await assert.rejects(client.leases(), refused);
  await assert.rejects(client.watch('k')[Symbol.asyncIterator]().next(), refused);
  await assert.rejects(cluster.addMember({ learner: true }), /too many learner members/);
  const follower = cluster.members.find(member => member !== cluster.leader() && member !== learner) as ClusterMember;
  const asked = clientOf(follower);
  await assert.rejects(asked.memberPromote(BigInt(`0x${follower.id}`)), /can only promote a learner member$/);
  await asked.memberPromote(BigInt(`0x${learner.id}`));
  assert.equal(
    (await asked.memberList()).some(({ isLearner }) => isLearner),
    false,
  );
  await until(async () => !(await client.status()).isLearner, 'the learner hears that it votes');
  await client.put('k', 'from the former learner');
});

test('a learner that is not in sync is not promoted', async () => {
  const cluster = await start({ startAddedMembers: false });
  for (let at = 0; at < 20; at++) await cluster.client().put(`k${at}`, 'v');
  const { id, isLearner } = await cluster.client().memberAdd(['http://127.0.0.1:1'], { learner: true });
  assert.equal(isLearner, true);
  for (const member of cluster.members) {
    await assert.rejects(
      clientOf(member).memberPromote(id),
      /learner member which is in sync with leader/,
      member.name,
    );
  }
});

test('a member that a client adds gets a thread of its own', async () => {
  const cluster = await start();
  const { id, name } = await clientOf(cluster.members[1] as ClusterMember).memberAdd(['http://127.0.0.1:1']);
  assert.equal(name, '');
  await until(() => cluster.members.length === 4, 'a fourth member is there');
  const added = cluster.members[3] as ClusterMember;
  assert.deepEqual([added.name, added.id], ['m4', id.toString(16)]);
  await until(async () => (await namesListed(cluster)).includes('m4'), 'it told its name');
  assert.equal((await clientOf(added).put('k', 'v')).revision, 2);
});

test('without startAddedMembers it stays unstarted, and can be removed', async () => {
  const cluster = await start({ startAddedMembers: false });
  const { id } = await cluster.client().memberAdd(['http://127.0.0.1:1', 'http://127.0.0.1:2']);
  await cluster.client().memberUpdate(id, ['http://127.0.0.1:3']);
  const listed = (await cluster.client().memberList()).find(member => member.id === id);
  assert.deepEqual(listed, { id, name: '', peerUrls: ['http://127.0.0.1:3'], clientUrls: [], isLearner: false });
  const own = await cluster.addMember({ name: 'own', peerUrls: [' http://127.0.0.1:5', 'http://127.0.0.1:4'] });
  assert.equal(own.name, 'own');
  assert.equal(cluster.members.length, 4);
  await cluster.removeMember(id.toString(16));
  assert.equal((await cluster.client().memberList()).length, 4);
});

test('what cannot be added changes nothing', async () => {
  const cluster = await start({ dataDir: join(base, 'data') });
  const described = readFileSync(join(base, 'data', 'cluster.json'), 'utf8');
  const taken = createServer();
  await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  await assert.rejects(cluster.addMember({ port }), /is in use/);
  taken.close();
  await assert.rejects(cluster.addMember({ name: 'm2' }), /m2 exists already/);
  await assert.rejects(cluster.addMember({ name: '../m9' }), /choose another name/);
  await assert.rejects(cluster.addMember({ peerUrls: ['nonsense'] }), /given member URLs are invalid/);
  await assert.rejects(cluster.addMember({ peerUrls: ['http://127.0.0.1:22380'] }), /Peer URLs already exists/);
  await assert.rejects(cluster.removeMember('m7'), /no member m7/);
  assert.deepEqual([cluster.members.length, (await cluster.client().memberList()).length], [3, 3]);
  assert.equal(readFileSync(join(base, 'data', 'cluster.json'), 'utf8'), described);
});

test('members can be added side by side', async () => {
  const cluster = await start({ members: 1, strictReconfigCheck: true });
  const added = await Promise.all([cluster.addMember(), cluster.addMember()]);
  assert.deepEqual(
    added.map(({ name }) => name),
    ['m2', 'm3'],
  );
  assert.deepEqual(await namesListed(cluster), ['m1', 'm2', 'm3']);
});

test('strict checks keep the quorum: a cluster with a member down neither grows nor loses one that runs', async () => {
  const cluster = await start({ strictReconfigCheck: true });
  const client = cluster.client();
  await assert.rejects(client.memberAdd(['http://127.0.0.1:1']), /etcdserver: unhealthy cluster/, 'it is too young');
  const victim = cluster.members.find(member => member !== cluster.leader()) as ClusterMember;
  await victim.kill();
  const other = cluster.members.find(member => member !== cluster.leader() && member !== victim) as ClusterMember;
  await assert.rejects(client.memberRemove(BigInt(`0x${other.id}`)), /etcdserver: unhealthy cluster/);
  await assert.rejects(cluster.addMember({ timeoutMs: 500 }), /etcdserver: unhealthy cluster/);
  await cluster.removeMember(victim.name);
  await assert.rejects(client.memberPromote(1n), /etcdserver: member not found/);
  assert.deepEqual((await namesListed(cluster)).length, 2);
});

test('the leader is cut off: the others add a member and remove the old leader, which cannot hear of it', async () => {
  const cluster = await start({ strictReconfigCheck: false });
  const former = cluster.leader() as ClusterMember;
  cluster.partition([former]);
  // Its own client's change cannot be committed, not even once the links are whole again.
  const lost = clientOf(former).memberAdd(['http://127.0.0.1:1'], { timeoutMs: 3_000 });
  const failed = assert.rejects(lost);
  await until(() => ![undefined, former].includes(cluster.leader()), 'another leads');
  const added = await cluster.addMember();
  await clientOf(added).put('k', 'v');
  await cluster.removeMember(former.name);
  assert.equal(former.running, false);
  cluster.heal();
  await failed;
  const { length } = cluster.members;
  assert.deepEqual([length, await namesListed(cluster)], [3, cluster.members.map(({ name }) => name).sort()]);
  for (const member of cluster.members) assert.equal((await clientOf(member).get('k'))?.version, 1, member.name);
});

test('a close in the middle of changes ends them, and leaves nothing behind', async () => {
  for (const waitMs of [0, 20, 100]) {
    const cluster = await start();
    const changes = [cluster.addMember(), cluster.removeMember('m1')].map(change => change.catch(String));
    await delay(waitMs);
    await cluster.close();
    await Promise.all(changes);
    assert.equal(existsSync(cluster.dataDir), false);
  }
});
