/**
 * Leases on real clusters: what their calls do through any member, and what becomes of them when members die, stop or
 * all begin again. Never early (L1), never shortened by a change of leaders (L2), one revision for all keys (L4), no
 * success for what is gone (L6).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Cluster, ClusterMember } from '../../src/index.js';
import {
  clockSlackMs,
  type Deletion,
  followersOf,
  LeaseClient,
  leaderOf,
  pause,
  startFor,
  until,
} from './leases/lease-client.js';

const unknown = { ttlSeconds: -1, grantedSeconds: 0, keys: [] };

/** Members that elect within a few hundred milliseconds: the shortest TTL is one second. */
const quick = { electionTimeoutMs: 250, heartbeatIntervalMs: 50 } as const;

async function everyMember(context: TestContext, cluster: Cluster): Promise<LeaseClient[]> {
  return Promise.all(cluster.members.map(member => LeaseClient.connectFor(context, member)));
}

/** Every member holds the same history. */
async function assertAlike(clients: readonly LeaseClient[]): Promise<void> {
  const revisions = await Promise.all(clients.map(async client => (await client.keys('none')).revision));
  const revision = Math.min(...revisions);
  const hashes = await Promise.all(clients.map(client => client.hashKv(revision)));
  assert.equal(new Set(hashes).size, 1, `hashes at ${revision}: ${hashes}`);
}

test('grants, lists and questions through any member', async context => {
  const cluster = await startFor(context);
  const client = await LeaseClient.connectFor(context, followersOf(cluster)[0]);
  const chosen = await client.grant(0n, 60);
  assert.ok(chosen.id > 0n, `a positive id: ${chosen.id}`);
  assert.equal(chosen.ttlSeconds, 60);
  const [lowest, highest] = [-(2n ** 63n), 2n ** 63n - 1n];
  for (const [id, asked, given] of [
    [77n, 30, 30],
    [-5n, 40, 40],
    [lowest, 9_000_000_000, 9_000_000_000],
    [highest, 50, 50],
    [6n, 0, 2],
    [7n, -100, 2],
  ] as const) {
    assert.deepEqual(await client.grant(id, asked), { id, ttlSeconds: given });
  }
  await assert.rejects(client.grant(-5n, 60), { message: '9 etcdserver: lease already exists' });
  await assert.rejects(client.grant(9n, 9_000_000_001), { message: '11 etcdserver: too large lease TTL' });
  await assert.rejects(client.revoke(9n), { message: '5 etcdserver: requested lease not found' });
  await assert.rejects(client.put('k', 9n), { message: '5 etcdserver: requested lease not found' });
  for (const each of [6n, 7n]) await client.revoke(each);
  const leader = await LeaseClient.connectFor(context, leaderOf(cluster));
  assert.deepEqual(await leader.list(), [77n, -5n, highest, chosen.id, lowest], 'soonest expiry first');
  await leader.keepAlives().renew(77n);
  for (const each of await everyMember(context, cluster)) {
    assert.deepEqual(await each.timeToLive(9n), unknown);
    const { ttlSeconds, ...rest } = await each.timeToLive(-5n);
    assert.deepEqual(rest, { grantedSeconds: 40, keys: [] });
    assert.ok(ttlSeconds >= 20 && ttlSeconds < 40, `what is left, rounded down: ${ttlSeconds}`);
    // Read through the member first, so that it has applied everything.
    await each.keys('none');
    const known = await each.list();
    assert.deepEqual(new Set(known), new Set([77n, -5n, highest, chosen.id, lowest]));
  }
});

test('keys move between leases and leave them; a revocation deletes the rest in order, in one revision', async context => {
  const cluster = await startFor(context);
  const [client, other, third] = (await everyMember(context, cluster)) as [LeaseClient, LeaseClient, LeaseClient];
  const watches = await Promise.all([client, other, third].map(each => each.deletions('k')));
  for (const id of [1n, -2n, 3n]) await client.grant(id, 60);
  for (const key of ['k3', 'k1', 'k\x00', 'k2', 'k1x']) await client.put(key, 1n);
  await client.put('k4', 1n);
  await client.put('k4', -2n);
  await client.put('k5', 1n);
  await client.put('k5', 0n);
  await client.put('k6', 1n);
  await client.delete('k6');
  await client.put('k2', 0n, { ignore_lease: true });
  assert.deepEqual((await other.timeToLive(1n)).keys, ['k\x00', 'k1', 'k1x', 'k2', 'k3']);
  assert.deepEqual((await third.timeToLive(-2n)).keys, ['k4']);
  const { revision } = await client.keys('none');
  assert.equal(await third.revoke(3n), revision, 'a lease without keys takes no revision');
  assert.equal(await other.revoke(1n), revision + 1);
  assert.deepEqual((await client.keys('k')).keys, ['k4@-2', 'k5@0']);
  for (const watch of watches) {
    const heard = (await watch.next(6)).map(deletion => [deletion.revision, ...deletion.keys]);
    assert.deepEqual(heard, [
      [revision - 1, 'k6'],
      [revision + 1, 'k\x00', 'k1', 'k1x', 'k2', 'k3'],
    ]);
  }
  assert.deepEqual(await third.timeToLive(1n), unknown);
  assert.equal(await client.keepAlives().renew(1n), 0);
  await assertAlike([client, other, third]);
});

test('a keep-alive that comes as its lease expires is told TTL 0 only when the keys are gone (L6)', async context => {
  const cluster = await startFor(context, quick);
  const clients = await everyMember(context, cluster);
  let gone = 0;
  const life = async (number: number): Promise<void> => {
    const id = BigInt(number);
    const client = clients[number % 3] as LeaseClient;
    const sentMs = performance.now();
    await client.grant(id, 1);
    await client.put(`k${id}.`, id);
    await pause(sentMs + 1_000 + number * 25 - performance.now());
    const ttlSeconds = await client.keepAlives().renew(id);
    if (ttlSeconds === 0) {
      gone += 1;
      assert.ok(performance.now() - sentMs > 1_000 - clockSlackMs, 'not early');
      for (const each of clients) assert.deepEqual((await each.keys(`k${id}.`)).keys, []);
      assert.deepEqual(await client.timeToLive(id), unknown);
    } else {
      assert.equal(ttlSeconds, 1);
      assert.deepEqual((await client.keys(`k${id}.`)).keys, [`k${id}.@${id}`]);
    }
  };
  await Promise.all(Array.from({ length: 40 }, (_, number) => life(number + 1)));
  assert.ok(gone > 0, 'some came too late');
});

test('2,000 leases of 2 s whose leader dies end one after the other, none early, none left', async context => {
  const count = 2_000;
  const cluster = await startFor(context, quick);
  const client = await LeaseClient.connectFor(context, followersOf(cluster)[0]);
  const deletions = await client.deletions('k');
  const sentMs = new Map<string, number>();
  const grant = async (number: number): Promise<void> => {
    sentMs.set(`k${number}`, performance.now());
    await client.grant(BigInt(number), 2);
    await client.put(`k${number}`, BigInt(number));
  };
  const heard = deletions.next(count);
  for (let from = 1; from <= count; from += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, at) => grant(from + at)));
  }
  const leader = leaderOf(cluster);
  const killedMs = performance.now();
  await leader.kill();
  const all = await heard;
  const early = all.filter(({ keys: [key], seenMs }) => {
    const sinceMs = seenMs < killedMs ? sentMs.get(key as string)! : killedMs;
    return seenMs < sinceMs + 2_000 - clockSlackMs;
  });
  assert.deepEqual(early, []);
  assert.equal(all.length, count, 'a revision each');
  const times = all.map(({ seenMs }) => seenMs).filter(seenMs => seenMs > killedMs);
  // 750 a second fall due, in scans 500 ms apart.
  const tookMs = Math.max(...times) - Math.min(...times);
  const leastMs = ((times.length - 750) / 750) * 1_000 - 600;
  assert.ok(tookMs >= leastMs, `${times.length} took ${tookMs} ms, at least ${leastMs}`);
  assert.deepEqual(await client.list(), []);
});

test('200 streams whose leader dies: a cancelled one is forgotten, every other is answered once', async context => {
  const cluster = await startFor(context, quick);
  const client = await LeaseClient.connectFor(context, followersOf(cluster)[0]);
  await client.grant(5n, 60);
  const streams = Array.from({ length: 200 }, () => client.keepAlives());
  for (const stream of streams) stream.send(5n);
  const killed = leaderOf(cluster).kill();
  for (const stream of streams) stream.send(6n);
  const kept = streams.filter((stream, at) => {
    if (at % 2 === 1) return true;
    stream.stream.cancel();
    return false;
  });
  await killed;
  for (const stream of kept) {
    stream.stream.halfClose();
    const answers = [await stream.next(), await stream.next(), await stream.next()];
    assert.deepEqual(answers, [{ id: 5n, ttlSeconds: 60 }, { id: 6n, ttlSeconds: 0 }, undefined]);
    assert.deepEqual(await stream.stream.status, { grpcStatus: 0, grpcMessage: '' });
  }
  await until(() => cluster.leader() !== undefined);
  assert.equal(await client.keepAlives().renew(5n), 60);
});

// Mostly waiting, so side by side.
describe('members that die, stop and begin again', { concurrency: 3 }, () => {
  const cases = [
    ['the leader is killed after a renewal', 300, (member: ClusterMember) => member.kill()],
    ['the leader is killed right before the expiry', 1_700, (member: ClusterMember) => member.kill()],
    ['the leader is stopped in order', 1_000, (member: ClusterMember) => member.stop()],
  ] as const;
  for (const [name, afterMs, takeDown] of cases) {
    test(`${name}: its leases have their whole time again, and end everywhere at once`, async context => {
      const cluster = await startFor(context, quick);
      const leader = leaderOf(cluster);
      const clients = await Promise.all(followersOf(cluster).map(each => LeaseClient.connectFor(context, each)));
      const [client] = clients as [LeaseClient];
      const watches = await Promise.all(clients.map(each => each.deletions('k')));
      await client.grant(5n, 2);
      for (const key of ['k2', 'k1', 'k3']) await client.put(key, 5n);
      const deleted = Promise.all(watches.map(watch => watch.next(3)));
      const renewals = client.keepAlives();
      await pause(500);
      const renewedMs = performance.now();
      assert.equal(await renewals.renew(5n), 2);
      await pause(renewedMs + afterMs - performance.now());
      const leads = cluster.leader() === leader;
      const beginsMs = performance.now();
      await takeDown(leader);
      const inTime = leads && performance.now() < renewedMs + 2_000 - clockSlackMs;
      const [first, second] = (await deleted) as [Deletion[], Deletion[]];
      const what = ({ keys, revision }: Deletion) => ({ keys, revision });
      assert.deepEqual(first.map(what), second.map(what), 'on every member the same');
      assert.deepEqual(
        first.map(({ keys }) => keys),
        [['k1', 'k2', 'k3']],
        'one revision (L4)',
      );
      const seenMs = Math.min(first[0]!.seenMs, second[0]!.seenMs);
      assert.ok(seenMs >= renewedMs + 2_000 - clockSlackMs, `early by ${renewedMs + 2_000 - seenMs} ms (L1)`);
      // On a machine so busy that the leader went too late, or another led by then, L1 is all there is to check.
      if (inTime) assert.ok(seenMs >= beginsMs + 2_000 - clockSlackMs, 'the next leader began anew (L2)');
      assert.equal(await renewals.renew(5n), 0);
      await leader.start();
      const back = await LeaseClient.connectFor(context, leader);
      assert.deepEqual((await back.keys('k')).keys, []);
      assert.deepEqual(await back.list(), []);
      await assertAlike([...clients, back]);
    });
  }

  test('a cluster that begins again finds its leases and their keys', async context => {
    const dataDir = mkdtempSync(join(tmpdir(), 'kvorum-leases-'));
    context.after(() => rmSync(dataDir, { recursive: true, force: true }));
    const former = await startFor(context, { dataDir });
    const before = await LeaseClient.connect(leaderOf(former));
    for (const [id, ttlSeconds] of [
      [1n, 600],
      [-2n, 300],
      [3n, 4],
      [4n, 500],
    ] as const) {
      await before.grant(id, ttlSeconds);
      await before.put(`k${id}`, id);
      await before.put(`k${id}-moved`, id);
    }
    await before.put('k1-moved', -2n);
    await before.revoke(4n);
    const lastMs = performance.now();
    await before.keepAlives().renew(3n);
    before.close();
    await former.close();
    const cluster = await startFor(context, { dataDir });
    const clients = await everyMember(context, cluster);
    const client = await LeaseClient.connectFor(context, leaderOf(cluster));
    const deletions = await client.deletions('k');
    assert.deepEqual(await client.list(), [3n, -2n, 1n]);
    assert.deepEqual((await client.timeToLive(1n)).keys, ['k1']);
    const { ttlSeconds, grantedSeconds, keys } = await client.timeToLive(-2n);
    assert.deepEqual({ grantedSeconds, keys }, { grantedSeconds: 300, keys: ['k-2', 'k-2-moved', 'k1-moved'] });
    // The new leader has added an election timeout, so that even a fresh lease may have its whole TTL left.
    assert.ok(ttlSeconds >= 290 && ttlSeconds <= 301, `its whole time again: ${ttlSeconds}`);
    assert.deepEqual(await client.timeToLive(4n), unknown);
    const [expired] = (await deletions.next(2)) as [Deletion];
    assert.deepEqual(expired.keys, ['k3', 'k3-moved']);
    assert.ok(expired.seenMs >= lastMs + 4_000 - clockSlackMs, 'not early');
    await client.revoke(-2n);
    for (const each of clients) assert.deepEqual((await each.keys('k')).keys, ['k1@1']);
    await assertAlike(clients);
  });

  test('no leader: questions end with etcd’s errors after the request timeout, leases lose no time', async context => {
    const cluster = await startFor(context, quick);
    const [survivor, second] = followersOf(cluster);
    const leader = leaderOf(cluster);
    const client = await LeaseClient.connectFor(context, survivor);
    await client.grant(5n, 2);
    await client.put('k', 5n);
    await Promise.all([leader.kill(), second.kill()]);
    const timeoutMs = 5_000 + 2 * quick.electionTimeoutMs;
    const beganMs = performance.now();
    const tookMs = (): number => performance.now() - beganMs;
    const after = async (what: Promise<unknown>): Promise<void> => {
      await what;
      const ms = tookMs();
      assert.ok(ms >= timeoutMs - clockSlackMs && ms < timeoutMs + 2_000, `after the request timeout: ${ms} ms`);
    };
    const noLeader = { grpcStatus: 14, grpcMessage: 'etcdserver: no leader' };
    const ends = async (metadata: Record<string, string>): Promise<void> => {
      const renewals = client.keepAlives(metadata);
      renewals.send(5n);
      assert.equal(await renewals.next(), undefined);
      assert.deepEqual(await renewals.stream.status, noLeader);
    };
    await Promise.all([
      after(ends({})),
      after(assert.rejects(client.timeToLive(5n), { message: '14 etcdserver: no leader' })),
      after(assert.rejects(client.grant(6n, 60), { message: '4 context deadline exceeded' })),
      after(assert.rejects(client.revoke(5n), { message: '4 context deadline exceeded' })),
      ends({ hasleader: 'true' }).then(() =>
        assert.ok(tookMs() < timeoutMs - 1_000, 'who asks for a leader hears sooner'),
      ),
      client.list().then(ids => assert.deepEqual(ids, [5n], 'the local table answers')),
    ]);
    const againMs = performance.now();
    const deletions = await client.deletions('k');
    await Promise.all([leader.start(), second.start()]);
    const [expired] = (await deletions.next(1)) as [Deletion];
    assert.ok(expired.seenMs >= againMs + 2_000 - clockSlackMs, 'nothing expired without a leader');
    assert.deepEqual(await client.list(), [], 'what was refused has not happened later');
  });
});
