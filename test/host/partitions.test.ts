/**
 * Members of a running cluster that are cut off from each other, hear each other badly, or stand still: through the
 * library, with real threads.
 */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { type Cluster, type ClusterMember, connect, type EtcdClient, StartError } from '../../src/index.js';
import { scrape } from '../support/exposition.js';
import { call, clientFor, followerOf, leaderOf, startFor, until } from './maintenance/stage.js';

/** An isolated leader steps down soon. */
const quick = { heartbeatIntervalMs: 50, electionTimeoutMs: 500 };

/** A client of one member alone. */
function clientOf(t: TestContext, { endpoint }: ClusterMember): EtcdClient {
  const client = connect({ endpoints: [endpoint] });
  t.after(() => client.close());
  return client;
}

/** Resolves with the leader once it is another one. */
async function leaderAfter(cluster: Cluster, former: ClusterMember): Promise<ClusterMember> {
  await until(() => ![undefined, former].includes(cluster.leader()));
  return leaderOf(cluster);
}

/** Every member's HashKV at the newest revision, once all have come so far. */
async function hashes(t: TestContext, { members }: Cluster): Promise<unknown[]> {
  const clients = await Promise.all(members.map(member => clientFor(t, member)));
  let revision = 0n;
  // Who answered for the last write has it, and nobody has more.
  await until(async () => {
    const states = await Promise.all(clients.map(client => call(client, 'Maintenance/Status')));
    const revisions = states.map(({ header }) => (header as { revision: bigint }).revision);
    revision = revisions[0] as bigint;
    return isOneValue(revisions);
  });
  const answers = await Promise.all(clients.map(client => call(client, 'Maintenance/HashKV', { revision })));
  return answers.map(({ hash }) => hash);
}

function isOneValue(values: readonly unknown[]): boolean {
  return new Set(values).size === 1;
}

async function hasLeader(member: ClusterMember): Promise<boolean> {
  return (await scrape(member.endpoint)).value('etcd_server_has_leader') === 1;
}

// Two at a time: much of it is waiting for elections.
describe('partitions and pauses', { concurrency: 2 }, () => {
  test('a leader that is cut off steps down and reads nothing stale; the others go on; healed, all are alike', async t => {
    const cluster = await startFor(t, quick);
    await cluster.client().put('k', 'old');
    const former = leaderOf(cluster);
    cluster.partition([former]);
    const isolated = clientOf(t, former);
    // It still believes that it leads; nobody confirms it.
    const timeoutMs = 1_500;
    const failed = Promise.all([
      assert.rejects(isolated.get('k', { timeoutMs })),
      assert.rejects(isolated.put('lost', 'v', { timeoutMs })),
    ]);
    await leaderAfter(cluster, former);
    await cluster.client().put('k', 'new');
    await until(async () => !(await hasLeader(former)));
    assert.equal((await isolated.get('k', { serializable: true }))?.value, 'old', 'what it has');
    await failed;
    cluster.heal();
    assert.equal((await isolated.get('k'))?.value, 'new');
    assert.equal(await isolated.get('lost'), undefined);
    assert.ok(isOneValue(await hashes(t, cluster)));
  });

  test('without a part that has a quorum nobody leads; one partition takes the place of another', async t => {
    const cluster = await startFor(t, quick);
    const [a, b, c] = cluster.members as [ClusterMember, ClusterMember, ClusterMember];
    cluster.partition([a], [b]);
    await until(() => cluster.leader() === undefined);
    cluster.partition([a]);
    await until(() => [b, c].includes(cluster.leader() as ClusterMember));
    await cluster.client().put('k', 'v');
    cluster.partition([a, b]);
    await until(async () => (await hasLeader(a)) && !(await hasLeader(c)));
    cluster.heal();
    await until(() => hasLeader(c));
    assert.ok(isOneValue(await hashes(t, cluster)));
  });

  test('who is added while the cluster is cut in two is on the side of those who are in no group', async t => {
    const cluster = await startFor(t, { ...quick, strictReconfigCheck: false });
    const cut = followerOf(cluster);
    cluster.partition([cut]);
    const added = await cluster.addMember();
    await cluster.client().put('k', 'v');
    assert.equal((await clientOf(t, added).get('k'))?.value, 'v');
    assert.equal(await clientOf(t, cut).get('k', { serializable: true }), undefined);
    cluster.heal();
    assert.ok(isOneValue(await hashes(t, cluster)));
  });

  test('a way can be cut, slow or lossy in one direction; what is no fault is refused', async t => {
    const cluster = await startFor(t, quick);
    const leader = leaderOf(cluster);
    const follower = followerOf(cluster);
    const client = clientOf(t, follower);
    cluster.disturb(leader, follower, { cut: true });
    await cluster.client().put('k', 'v');
    assert.equal(await client.get('k', { serializable: true }), undefined);
    assert.equal(cluster.leader(), leader, 'a member that is deaf deposes nobody');
    cluster.disturb(leader, follower, { dropPermille: 300, duplicatePermille: 200, reorderPermille: 200 });
    await Promise.all(Array.from({ length: 200 }, (_, at) => cluster.client().put(`k${at}`, 'v')));
    await until(
      async () => (await client.getAll({ prefix: 'k' }, { serializable: true, keysOnly: true })).count === 201,
    );
    const delayMs = 150;
    cluster.disturb(leader, follower, { delayMsMin: delayMs });
    const askedMs = performance.now();
    await client.get('k');
    assert.ok(performance.now() - askedMs >= delayMs, 'the leader’s word came late');
    cluster.heal();
    assert.ok(isOneValue(await hashes(t, cluster)));

    assert.throws(() => cluster.disturb(leader, leader, {}), StartError);
    assert.throws(() => cluster.disturb(leader, follower, { dropPermille: 1.5 }), /dropPermille is a whole number/);
    assert.throws(() => cluster.disturb(leader, follower, { delayMsMin: 2, delayMsMax: 1 }), /whole milliseconds/);
    assert.throws(() => cluster.partition([leader], [leader]), /one group/);
    const { members: strangers } = await startFor(t, { members: 1 });
    assert.throws(() => cluster.partition(strangers), /none of this cluster/);
  });

  test('a paused member waits, the others go on; resumed it has everything', async t => {
    const cluster = await startFor(t, quick);
    const paused = followerOf(cluster);
    const client = clientOf(t, paused);
    await paused.pause();
    await paused.pause();
    assert.deepEqual([paused.paused, paused.running], [true, true]);
    let isAnswered = false;
    const read = client.get('k').finally(() => {
      isAnswered = true;
    });
    for (let at = 0; at < 50; at += 1) await cluster.client().put('k', String(at));
    assert.equal(isAnswered, false);
    paused.resume();
    assert.equal((await read)?.value, '49');
    assert.equal(paused.paused, false);
    assert.ok(isOneValue(await hashes(t, cluster)));
  });

  test('a paused leader is replaced; resumed it follows, and knows that a lease ran out meanwhile', async t => {
    const cluster = await startFor(t, quick);
    const former = leaderOf(cluster);
    const client = cluster.client();
    const { id } = await client.leaseGrant({ ttlSeconds: 1 });
    await client.put('leased', 'v', { lease: id });
    await client.put('k', 'old');
    await former.pause();
    const next = await leaderAfter(cluster, former);
    await client.put('k', 'new');
    await until(async () => (await clientOf(t, next).get('leased')) === undefined);
    former.resume();
    const resumed = clientOf(t, former);
    assert.equal((await resumed.get('k'))?.value, 'new', 'linearizable');
    assert.equal(await resumed.get('leased', { serializable: true }), undefined);
    assert.equal(await resumed.leaseTimeToLive(id), undefined);
    assert.equal((await scrape(former.endpoint)).value('etcd_server_is_leader'), 0);
    assert.ok(isOneValue(await hashes(t, cluster)));
  });

  test('a paused member can be stopped, killed, removed and closed; one that is down cannot be paused', async t => {
    const cluster = await startFor(t, { ...quick, strictReconfigCheck: false });
    const [leader, follower] = [leaderOf(cluster), followerOf(cluster)];
    await follower.pause();
    await follower.kill();
    assert.deepEqual([follower.paused, follower.running], [false, false]);
    await assert.rejects(follower.pause(), /not running/);
    await follower.start();
    await follower.pause();
    await follower.stop();
    await follower.start();
    await cluster.client().put('k', 'v');
    await follower.pause();
    await cluster.removeMember(follower.name);
    assert.equal(follower.running, false);
    await leader.pause();
    await cluster.close();
    assert.equal(leader.running, false);
  });
});
