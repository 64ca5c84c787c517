/**
 * Ten seconds of clients that grant, renew, use and revoke short leases, while random members are killed all the time,
 * now and then two at once.
 *
 * The oracle knows of each lease until when it must exist (its TTL after the last renewal that was answered had been
 * asked for), whether somebody may have revoked it, and whether it was reported gone:
 *
 *   before `safeUntilMs`   every answer says that it exists, and every key that was put on it does
 *   once reported gone     no later answer says that it exists, and none of its keys does
 *
 * In the end all leases run out on all members, and all members hold the same history.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import type { Cluster, ClusterMember } from '../../../src/index.js';
import { clockSlackMs, type KeepAlives, LeaseClient, pause, Refusal, startFor, until } from './lease-client.js';

const runMs = Number(process.env.KVORUM_LEASE_RANDOM_MS ?? 10_000);
const seed = Number(process.env.KVORUM_LEASE_RANDOM_SEED ?? Date.now() % 2 ** 31);
const workers = 8;
const leasesPerWorker = 4;
const callDeadlineMs = 3_000;

class ModelLease {
  readonly id: bigint;
  readonly ttlMs: number;
  safeUntilMs: number;
  /** A revocation was sent: from then on it may be gone any time. */
  revoking = false;
  /** Nobody renews it any more, or hardly. */
  abandoned = false;
  /** When the answer came that it is gone. */
  goneMs = Number.POSITIVE_INFINITY;
  readonly keys = new Set<string>();

  constructor(id: bigint, ttlSeconds: number, sentMs: number) {
    this.id = id;
    this.ttlMs = ttlSeconds * 1_000;
    this.safeUntilMs = sentMs + this.ttlMs;
  }

  /** An answer to a question that left at `sentMs` says whether the lease, or something on it, exists. */
  heard(exists: boolean, sentMs: number, what: string): void {
    const nowMs = performance.now();
    if (exists) {
      assert.ok(sentMs <= this.goneMs, `lease ${this.id} was gone and is back: ${what}`);
      return;
    }
    const missingMs = this.safeUntilMs - clockSlackMs - nowMs;
    assert.ok(this.revoking || missingMs <= 0, `lease ${this.id} is gone ${missingMs} ms early: ${what}`);
  }

  gone(): void {
    if (this.goneMs === Number.POSITIVE_INFINITY) counts[this.revoking ? 'revoked' : 'expired'] += 1;
    this.goneMs = Math.min(this.goneMs, performance.now());
  }
}

const counts = { granted: 0, renewed: 0, revoked: 0, expired: 0, checked: 0, unanswered: 0 };

/** One client after the other on random members, each until its connection breaks or it has had enough. */
class Worker {
  readonly #number: number;
  readonly #cluster: Cluster;
  readonly #prng: Prng;
  readonly #leases: ModelLease[] = [];
  #client: LeaseClient | undefined;
  #renewals: KeepAlives | undefined;
  #granted = 0;

  constructor(number: number, cluster: Cluster) {
    this.#number = number;
    this.#cluster = cluster;
    this.#prng = new Prng(seed + number);
  }

  async run(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      try {
        await this.#step();
      } catch (error) {
        // A wrong answer ends the test; none, or a refusal, is what faults bring.
        if (error instanceof assert.AssertionError) throw error;
        counts.unanswered += 1;
        if (!(error instanceof Refusal) || this.#prng.nextBelow(3) === 0) this.#disconnect();
        await pause(20);
      }
    }
    this.#disconnect();
  }

  async #step(): Promise<void> {
    const running = this.#cluster.members.filter(member => member.running);
    this.#client ??= await LeaseClient.connect(this.#pick(running));
    const dice = this.#prng.nextBelow(100);
    if (dice < 45) await this.#renew(this.#client);
    else if (dice < 60) await this.#put(this.#client);
    else if (dice < 75) await this.#check(this.#client);
    else if (dice < 85) await this.#checkKeys(this.#client);
    else if (dice < 86) await this.#revoke(this.#client);
    else if (dice < 89) this.#abandon();
    else if (dice < 90) this.#disconnect();
    else if (dice < 92) await pause(this.#prng.nextBelow(1_200));
    else await pause(this.#prng.nextBelow(60));
    const wanted = this.#leases.filter(({ goneMs }) => goneMs === Number.POSITIVE_INFINITY);
    if (wanted.length < leasesPerWorker && this.#client !== undefined) await this.#grant(this.#client);
  }

  async #grant(client: LeaseClient): Promise<void> {
    this.#granted += 1;
    const id = BigInt(this.#number * 100_000 + this.#granted);
    const sentMs = performance.now();
    const { ttlSeconds } = await client.grant(id, 1 + this.#prng.nextBelow(2), callDeadlineMs);
    this.#leases.push(new ModelLease(id, ttlSeconds, sentMs));
    counts.granted += 1;
  }

  /** Some of its leases at once, answered in their order. */
  async #renew(client: LeaseClient): Promise<void> {
    const some = this.#recent().filter(({ abandoned }) => this.#prng.nextBelow(20) < (abandoned ? 1 : 14));
    this.#renewals ??= client.keepAlives();
    const renewals = this.#renewals;
    const sentMs = performance.now();
    for (const { id } of some) renewals.send(id);
    for (const lease of some) {
      const answer = await renewals.next();
      if (answer === undefined) {
        this.#renewals = undefined;
        throw new Error('the stream ended');
      }
      assert.equal(answer.id, lease.id, 'answers come in the order of the questions');
      lease.heard(answer.ttlSeconds > 0, sentMs, 'renewal');
      if (answer.ttlSeconds === 0) {
        lease.gone();
        continue;
      }
      assert.equal(answer.ttlSeconds * 1_000, lease.ttlMs);
      lease.safeUntilMs = Math.max(lease.safeUntilMs, sentMs + lease.ttlMs);
      counts.renewed += 1;
    }
  }

  async #put(client: LeaseClient): Promise<void> {
    const lease = this.#someLease();
    if (lease === undefined) return;
    const key = `k${lease.id}.${this.#prng.nextBelow(3)}`;
    const sentMs = performance.now();
    try {
      await client.put(key, lease.id, {}, callDeadlineMs);
    } catch (error) {
      if (!(error instanceof Refusal) || !error.message.startsWith('5 ')) throw error;
      lease.heard(false, sentMs, 'put');
      lease.gone();
      return;
    }
    lease.heard(true, sentMs, 'put');
    lease.keys.add(key);
  }

  async #check(client: LeaseClient): Promise<void> {
    const lease = this.#someLease();
    if (lease === undefined) return;
    const sentMs = performance.now();
    const { ttlSeconds, grantedSeconds } = await client.timeToLive(lease.id, callDeadlineMs);
    lease.heard(grantedSeconds > 0, sentMs, 'time to live');
    if (grantedSeconds === 0) lease.gone();
    // One that is past its time waits for its revocation.
    else lease.heard(ttlSeconds >= 0 || lease.safeUntilMs < performance.now(), sentMs, `${ttlSeconds} s left`);
    counts.checked += 1;
  }

  async #checkKeys(client: LeaseClient): Promise<void> {
    const lease = this.#someLease();
    if (lease === undefined) return;
    const wanted = [...lease.keys];
    const sentMs = performance.now();
    const { keys } = await client.keys(`k${lease.id}.`, {}, callDeadlineMs);
    if (keys.length > 0) lease.heard(true, sentMs, `keys ${keys}`);
    for (const key of wanted) {
      if (!keys.includes(`${key}@${lease.id}`)) lease.heard(false, sentMs, `key ${key}`);
    }
    counts.checked += 1;
  }

  async #revoke(client: LeaseClient): Promise<void> {
    const lease = this.#someLease();
    if (lease === undefined) return;
    const before = lease.revoking;
    lease.revoking = true;
    const sentMs = performance.now();
    try {
      await client.revoke(lease.id, callDeadlineMs);
      lease.heard(true, sentMs, 'revocation');
    } catch (error) {
      if (!(error instanceof Refusal) || !error.message.startsWith('5 ')) throw error;
      // Gone before this revocation.
      lease.revoking = before;
      lease.heard(false, sentMs, 'revocation');
    }
    lease.gone();
  }

  /** Mostly one of the newest; now and then one that is long gone. */
  #someLease(): ModelLease | undefined {
    const some = this.#prng.nextBelow(5) === 0 ? this.#leases : this.#recent();
    return some.length === 0 ? undefined : this.#pick(some);
  }

  #recent(): ModelLease[] {
    return this.#leases.slice(-leasesPerWorker - 2);
  }

  #abandon(): void {
    const lease = this.#someLease();
    if (lease !== undefined) lease.abandoned = true;
  }

  #disconnect(): void {
    this.#client?.close();
    this.#client = undefined;
    this.#renewals = undefined;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#prng.nextBelow(items.length)] as T;
  }
}

async function disturb(cluster: Cluster, untilMs: number): Promise<void> {
  const prng = new Prng(seed);
  while (performance.now() < untilMs) {
    await pause(prng.nextBelow(900));
    const victims = new Set<ClusterMember>();
    const leader = cluster.leader();
    if (leader !== undefined && prng.nextBelow(2) === 0) victims.add(leader);
    else victims.add(cluster.members[prng.nextBelow(3)] as ClusterMember);
    if (prng.nextBelow(5) === 0) victims.add(cluster.members[prng.nextBelow(3)] as ClusterMember);
    const inOrder = prng.nextBelow(4) === 0;
    await Promise.all([...victims].map(member => (inOrder ? member.stop() : member.kill())));
    await pause(prng.nextBelow(700));
    await Promise.all([...victims].map(member => member.start()));
  }
}

test(`leases under random faults (seed ${seed})`, async context => {
  // Hardly any log is kept: who comes back gets a snapshot, and reads its leases from that.
  const log = { snapshotCount: 20, snapshotCatchUpEntries: 2 };
  const cluster = await startFor(context, { electionTimeoutMs: 250, heartbeatIntervalMs: 50, ...log });
  const untilMs = performance.now() + runMs;
  const clients = Array.from({ length: workers }, (_, number) => new Worker(number + 1, cluster).run(untilMs));
  await Promise.all([disturb(cluster, untilMs), ...clients]);
  context.diagnostic(JSON.stringify(counts));
  assert.ok(
    Math.min(counts.granted, counts.renewed, counts.revoked, counts.expired, counts.checked) > 0,
    'of everything',
  );
  const all = await Promise.all(cluster.members.map(member => LeaseClient.connectFor(context, member)));
  const [client] = all as [LeaseClient];
  await until(async () => (await Promise.all(all.map(each => each.list()))).every(ids => ids.length === 0));
  const { revision } = await client.keys('none');
  for (const each of all) {
    const found = await each.keys('k');
    assert.deepEqual(found, { keys: [], revision }, 'nothing outlives its lease');
  }
  const hashes = await Promise.all(all.map(each => each.hashKv(revision)));
  assert.equal(new Set(hashes).size, 1, `hashes at ${revision}: ${hashes}`);
});
