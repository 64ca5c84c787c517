/**
 * npm's etcd3, the scenarios of its manual that need streams and leases: watches that outlive the member they are on,
 * leases kept alive and lost, locks, elections, software transactions. The same code on real etcd and on kvorum.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, type TestContext, test } from 'node:test';
import { Etcd3, EtcdLeaseInvalidError, EtcdLockFailedError, type IKeyValue, type Watcher } from 'etcd3';
import type { Family } from '../support/differential.js';
import { type DisturbedCluster, startDisturbedCluster } from '../support/disturbed-cluster.js';
import { requireEtcd } from '../support/etcd.js';

const families: readonly Family[] = ['etcd-3.4', 'kvorum'];
const patienceMs = 20_000;
/** The client's own pauses between attempts grow to half a minute. */
const reconnectSoon = { duration: 50, next: () => reconnectSoon };

// Also when a test failed before it cancelled them.
after(() => Promise.all([...Seen.living].map(watcher => watcher.cancel())));

test('npm etcd3', { concurrency: true, timeout: 60_000 }, async t => {
  if ((await requireEtcd(t, '3.4')) === undefined) return;
  await Promise.all(families.map(family => t.test(`on ${family}`, one => scenarios(one, family))));
});

async function scenarios(t: TestContext, family: Family): Promise<void> {
  const cluster = await startDisturbedCluster(family);
  const clients: Etcd3[] = [];
  const connect = (...members: number[]): Etcd3 => {
    const hosts = members.length === 0 ? [...cluster.endpoints] : members.map(member => cluster.endpoints[member]!);
    const client = new Etcd3({ hosts, faultHandling: { watchBackoff: reconnectSoon } });
    clients.push(client);
    return client;
  };
  try {
    await t.test('watches', () => watches(connect()));
    await t.test('leases', () => leases(connect(0), connect(1)));
    await t.test('locks', () => locks(connect(0), connect(1)));
    await t.test('elections', () => elections(connect(0), connect(1), connect(2)));
    await t.test('software transactions', () => transactions(connect(0), connect(1)));
    await t.test('a watch goes on where it was, wherever the member it is on', () => reconnecting(cluster, connect));
  } finally {
    for (const client of clients) client.close();
    await cluster.stop();
  }
}

/** What a watcher saw, awaited by count. */
class Seen {
  /** Those that have not ended: they would connect again for ever. */
  static readonly living = new Set<Watcher>();
  readonly events: string[] = [];
  #arrived: () => void = () => {};

  constructor(watcher: Watcher) {
    Seen.living.add(watcher);
    watcher.on('end', () => Seen.living.delete(watcher));
    watcher.on('put', (pair, previous) => this.#add('put', pair, previous));
    watcher.on('delete', (pair, previous) => this.#add('delete', pair, previous));
  }

  /** The first `count` events, and takes them out. */
  async take(count: number): Promise<string[]> {
    const timer = setTimeout(() => this.#arrived(), patienceMs);
    const deadline = performance.now() + patienceMs;
    while (this.events.length < count && performance.now() < deadline) {
      await new Promise<void>(resolve => {
        this.#arrived = resolve;
      });
    }
    clearTimeout(timer);
    assert.ok(this.events.length >= count, `${this.events.length} instead of ${count} events: ${this.events}`);
    return this.events.splice(0, count);
  }

  #add(type: string, { key, value, mod_revision }: IKeyValue, previous?: IKeyValue): void {
    const before = previous === undefined || previous === null ? '' : ` was ${previous.value}`;
    this.events.push(`${type} ${key}=${value} at ${mod_revision}${before}`);
    this.#arrived();
  }
}

async function watches(client: Etcd3): Promise<void> {
  const { header } = await client.put('w/a').value('1');
  const start = BigInt(header.revision);
  const at = (offset: bigint) => `${start + offset}`;
  const past = client.watch().prefix('w/').startRevision(at(0n)).withPreviousKV().watcher();
  const one = client.watch().key('w/b').watcher();
  const [all, single] = [new Seen(past), new Seen(one)];
  await Promise.all([past, one].map(watcher => once(watcher, 'connected')));
  await client.put('w/a').value('2');
  await client.put('w/b').value('3');
  await client.delete().prefix('w/');
  assert.deepEqual(await single.take(2), [`put w/b=3 at ${at(2n)}`, `delete w/b= at ${at(3n)}`]);
  assert.deepEqual(await all.take(5), [
    `put w/a=1 at ${at(0n)}`,
    `put w/a=2 at ${at(1n)} was 1`,
    `put w/b=3 at ${at(2n)}`,
    `delete w/a= at ${at(3n)} was 2`,
    `delete w/b= at ${at(3n)} was 3`,
  ]);
  await one.cancel();
  await client.put('w/b').value('for the others');
  assert.deepEqual(await all.take(1), [`put w/b=for the others at ${at(4n)}`]);
  assert.deepEqual(single.events, []);
  await client.put('w/b').value('newest');
  await client.kv.compact({ revision: at(5n) });
  const compacted = client.watch().key('w/b').startRevision('1').watcher();
  const [error] = (await once(compacted, 'error')) as [Error];
  assert.match(error.message, /Watcher canceled/);
  await past.cancel();
}

async function leases(client: Etcd3, other: Etcd3): Promise<void> {
  const lease = client.lease(2);
  await lease.put('l/kept').value('alive');
  for (let kept = 0; kept < 4; kept++) await once(lease, 'keepaliveSucceeded');
  assert.equal(await other.get('l/kept').string(), 'alive', 'kept beyond its two seconds');
  const id = await lease.grant();
  const { TTL, grantedTTL, keys } = await other.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(grantedTTL, '2');
  assert.ok(Number(TTL) <= 2);
  assert.deepEqual(keys.map(String), ['l/kept']);
  assert.equal((await lease.keepaliveOnce()).TTL, '2');
  const watcher = await other.watch().prefix('l/').create();
  const seen = new Seen(watcher);
  const lost = once(lease, 'lost');
  await other.leaseClient.leaseRevoke({ ID: id });
  assert.match((await seen.take(1))[0]!, /^delete l\/kept=/);
  assert.ok((await lost)[0] instanceof EtcdLeaseInvalidError);
  await assert.rejects(async () => lease.put('l/again').value('x'), EtcdLeaseInvalidError);
  const left = client.lease(1, { autoKeepAlive: false });
  await left.put('l/b').value('left');
  await left.put('l/a').value('left');
  await seen.take(2);
  const [first, second] = await seen.take(2);
  assert.match(first!, /^delete l\/a= at \d+$/);
  assert.equal(second, first!.replace('l/a', 'l/b'), 'in one revision, in key order');
  await watcher.cancel();
}

async function locks(client: Etcd3, other: Etcd3): Promise<void> {
  const lock = await client.lock('mutex').ttl(2).acquire();
  await assert.rejects(other.lock('mutex').ttl(2).acquire(), EtcdLockFailedError);
  await lock.release();
  const result = await other
    .lock('mutex')
    .ttl(2)
    .do(async () => {
      await assert.rejects(client.lock('mutex').ttl(2).acquire(), EtcdLockFailedError);
      return 'done';
    });
  assert.equal(result, 'done');
  await (await client.lock('mutex').ttl(2).acquire()).release();
}

async function elections(client: Etcd3, other: Etcd3, third: Etcd3): Promise<void> {
  const observer = await third.election('office').observe();
  const changes: (string | undefined)[] = [];
  let changed = () => {};
  observer.on('change', value => {
    changes.push(value);
    changed();
  });
  const leaderIs = async (value: string) => {
    while (observer.leader() !== value) {
      await new Promise<void>(resolve => {
        changed = resolve;
      });
    }
  };
  const first = client.election('office', 3).campaign('alice');
  await once(first, 'elected');
  await leaderIs('alice');
  const second = other.election('office', 3).campaign('bob');
  await second.getCampaignKey();
  assert.equal(await third.election('office').leader(), 'alice');
  await first.proclaim('alice again');
  await leaderIs('alice again');
  const won = second.wait();
  await first.resign();
  await won;
  await leaderIs('bob');
  assert.deepEqual(
    changes.filter(value => value !== undefined),
    ['alice', 'alice again', 'bob'],
  );
  await second.resign();
  await observer.cancel();
}

async function transactions(client: Etcd3, other: Etcd3): Promise<void> {
  await client.put('stm/count').value('0');
  const rounds = 10;
  const increments = async (one: Etcd3) => {
    for (let round = 0; round < rounds; round++) {
      await one.stm({ retries: 100 }).transact(async tx => {
        const count = await tx.get('stm/count').number();
        await tx.put('stm/count').value((count ?? 0) + 1);
      });
    }
  };
  await Promise.all([increments(client), increments(other)]);
  assert.equal(await client.get('stm/count').number(), 2 * rounds);
}

/** Two members are killed, one after the other: what the watches saw is, in order and each once, what is in the history. */
async function reconnecting(cluster: DisturbedCluster, connect: (...members: number[]) => Etcd3): Promise<void> {
  const writers = cluster.endpoints.map((_, member) => connect(member));
  const header = (await writers[0]!.put('r/start').value('0')).header;
  const watchers = await Promise.all([
    ...writers.map(client => client.watch().prefix('r/').create()),
    connect().watch().prefix('r/').create(),
  ]);
  const seen = watchers.map(watcher => new Seen(watcher));
  const interrupted = [0, 1].map(victim => once(watchers[victim]!, 'disconnected'));
  let made = 0;
  for (const victim of [0, 1]) {
    const writer = writers[(victim + 1) % writers.length]!;
    const put = () =>
      retried(() =>
        writer
          .put(`r/${made % 3}`)
          .value(`${made++}`)
          .exec(),
      );
    for (let i = 0; i < 5; i++) await put();
    await cluster.kill(victim);
    for (let i = 0; i < 5; i++) await put();
    await cluster.restart(victim);
    for (let i = 0; i < 5; i++) await put();
  }
  await retried(() => writers[0]!.put('r/end').value('').exec());
  const start = `${BigInt(header.revision) + 1n}`;
  const whole = connect(1).watch().prefix('r/').startRevision(start).watcher();
  const history = new Seen(whole);
  const expected: string[] = [];
  while (!expected.at(-1)?.startsWith('put r/end')) expected.push(...(await history.take(1)));
  for (const [i, one] of seen.entries()) assert.deepEqual(await one.take(expected.length), expected, `watch ${i}`);
  await Promise.all(interrupted);
  await Promise.all([whole, ...watchers].map(watcher => watcher.cancel()));
}

/** Until the cluster has a leader again. */
async function retried(call: () => Promise<unknown>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      await call();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}
