/**
 * Auth turned off and on, roles and permissions taken and given, users deleted, passwords changed, on three members
 * under load, while one member is killed and started again: nothing is served that should not be, nobody who may is
 * refused, watches are cut, and in the end all members have the same data, users and roles.
 *
 *   KVORUM_AUTH_LOAD_SECONDS   how long (default 4)
 *   KVORUM_AUTH_LOAD_SEED      the seed (default: a new one, which is printed)
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import { type Cluster, startCluster } from '../../src/index.js';
import type { CallName } from '../support/calls.js';
import type { Message } from '../support/messages.js';
import { Caller, changing, passwordOf, Scene, tellNews, watch, work } from './load.js';
import { Rights, type State } from './rights.js';

const seconds = Number(process.env.KVORUM_AUTH_LOAD_SECONDS ?? 4);
const seed = Number(process.env.KVORUM_AUTH_LOAD_SEED ?? randomInt(2 ** 31));
const users = ['steady', 'member', 'permitted', 'deleted', changing];
/** The member that is killed now and then. */
const restarting = 2;
const callsBetween = 80;

test('rights that change under load', { timeout: 60_000 + seconds * 1000 }, async t => {
  t.diagnostic(`KVORUM_AUTH_LOAD_SEED=${seed}`);
  await using cluster = await startCluster({ members: 3, logLevel: 'silent', bcryptCost: 4 });
  const prng = new Prng(seed);
  const endpoints = cluster.endpoints.map(url => url.replace('http://', ''));
  const rights = new Rights({ enabled: false, allowed: new Set(users), password: 0 });
  const scene = new Scene(rights, prng, endpoints);
  const administrator = new Administrator(scene, endpoints);
  await administrator.build();
  const working = users.flatMap(user => [0, 1].map(number => work(scene, user, number)));
  const telling = tellNews(scene);
  const watching = ['member', 'permitted', 'deleted', 'nobody'].map(user => watch(scene, user));
  const changes = await change(scene, administrator, cluster);
  await administrator.end();
  scene.stop();
  await Promise.all([...working, telling]);
  // Before the watches, which would never end if they were not cut.
  assert.deepEqual(scene.violations.slice(0, 20), []);
  const seen = await Promise.all(watching);
  t.diagnostic(`${changes} changes; news seen: ${seen}; answers: ${JSON.stringify([...scene.answers])}`);
  assert.deepEqual(scene.violations.slice(0, 20), []);
  for (const [i, count] of seen.entries()) assert.ok(count > 0, `watcher ${i} saw something`);
  await verify(t, scene, administrator);
});

/** Changes rights in random order until the time is over; gives how often. */
async function change(scene: Scene, administrator: Administrator, cluster: Cluster): Promise<number> {
  const deadline = performance.now() + seconds * 1000;
  const kinds = [
    () => administrator.toggleRole(),
    () => administrator.togglePermission(),
    () => replaceUser(scene, administrator),
    () => administrator.changePassword(),
    () => administrator.toggleAuth(),
  ];
  let changes = 0;
  while (performance.now() < deadline) {
    for (const kind of shuffled(kinds, scene.prng)) {
      await kind();
      await scene.progress(callsBetween);
      changes++;
    }
    await cluster.members[restarting]!.kill();
    await administrator.toggleRole();
    await replaceUser(scene, administrator);
    await cluster.members[restarting]!.start();
    await scene.progress(callsBetween);
    changes += 2;
  }
  return changes;
}

/** Deletes the user and soon makes another of the same name, whom the first one's tokens must not serve. */
async function replaceUser(scene: Scene, administrator: Administrator): Promise<void> {
  await administrator.toggleUser();
  await scene.progress(callsBetween);
  await administrator.toggleUser();
  await scene.progress(callsBetween);
}

function shuffled<T>(items: readonly T[], prng: Prng): T[] {
  const keyed = items.map(item => [prng.nextUint32(), item] as const);
  return keyed.sort(([a], [b]) => a - b).map(([, item]) => item);
}

/** Makes the changes, at members that are not restarted, one after the other, each until it is acknowledged. */
class Administrator {
  readonly #rights: Rights;
  readonly #callers: readonly Caller[];

  constructor(scene: Scene, endpoints: readonly string[]) {
    this.#rights = scene.rights;
    const others = endpoints.filter((_, i) => i !== restarting);
    // A scene of its own: its calls are not part of the load.
    this.#callers = others.map(endpoint => new Caller(new Scene(scene.rights, scene.prng, [endpoint]), 'root'));
  }

  async build(): Promise<void> {
    await this.#make('UserAdd', { name: 'root', password: passwordOf('root', 0) });
    await this.#make('UserGrantRole', { user: 'root', role: 'root' });
    for (const user of users) {
      await this.#make('RoleAdd', { name: user });
      for (const prefix of [user, 'news']) await this.#make('RoleGrantPermission', { name: user, perm: range(prefix) });
      await this.#make('UserAdd', { name: user, password: passwordOf(user, 0) });
      await this.#make('UserGrantRole', { user, role: user });
    }
    await this.toggleAuth();
  }

  async toggleAuth(): Promise<void> {
    const { enabled } = this.#rights.latest;
    // Tokens are dropped when auth goes off; what was given without it counts for nothing when it is on again.
    const done = this.#rights.change({ ...this.#rights.latest, enabled: !enabled }, () => enabled);
    await this.#make(enabled ? 'AuthDisable' : 'AuthEnable', {});
    done();
  }

  toggleRole(): Promise<void> {
    return this.#toggle('member', granted =>
      granted
        ? [['UserRevokeRole', { name: 'member', role: 'member' }]]
        : [['UserGrantRole', { user: 'member', role: 'member' }]],
    );
  }

  togglePermission(): Promise<void> {
    const ranges = ['permitted', 'news'].map(range);
    return this.#toggle('permitted', granted =>
      granted
        ? ranges.map(({ key, range_end }) => ['RoleRevokePermission', { role: 'permitted', key, range_end }])
        : ranges.map(perm => ['RoleGrantPermission', { name: 'permitted', perm }]),
    );
  }

  toggleUser(): Promise<void> {
    const name = 'deleted';
    return this.#toggle(
      name,
      there =>
        there
          ? [['UserDelete', { name }]]
          : [
              ['UserAdd', { name, password: passwordOf(name, 0) }],
              ['UserGrantRole', { user: name, role: name }],
            ],
      user => user === name,
    );
  }

  async changePassword(): Promise<void> {
    const password = this.#rights.latest.password + 1;
    const done = this.#rights.change({ ...this.#rights.latest, password }, user => user === changing);
    await this.#make('UserChangePassword', { name: changing, password: passwordOf(changing, password) });
    done();
  }

  /** Takes the right from all who watch, with auth on. */
  async end(): Promise<void> {
    if (!this.#rights.latest.enabled) await this.toggleAuth();
    if (this.#rights.latest.allowed.has('member')) await this.toggleRole();
    if (this.#rights.latest.allowed.has('permitted')) await this.togglePermission();
    if (this.#rights.latest.allowed.has('deleted')) await this.toggleUser();
  }

  /** Asks as root until it is answered. */
  async ask(call: CallName, request: Message): Promise<Message> {
    return this.#make(call, request);
  }

  async #toggle(
    user: string,
    callsFor: (allowed: boolean) => readonly (readonly [CallName, Message])[],
    voids?: (user: string) => boolean,
  ): Promise<void> {
    const allowed = new Set(this.#rights.latest.allowed);
    const had = allowed.delete(user);
    if (!had) allowed.add(user);
    const state: State = { ...this.#rights.latest, allowed };
    const done = this.#rights.change(state, had ? voids : undefined);
    for (const [call, request] of callsFor(had)) await this.#make(call, request);
    done();
  }

  /** An attempt that got no answer may have been successful: then the next is told that there is nothing to do. */
  async #make(call: CallName, request: Message): Promise<Message> {
    for (let attempt = 0; ; attempt++) {
      const caller = this.#callers[attempt % this.#callers.length]!;
      const [{ status, text, response }] = await caller.ask(call, request);
      if (response !== undefined) return response;
      if (status === 9 && attempt > 0) return {};
      assert.ok([-1, 3, 4, 14, 16].includes(status), `${call}: ${status} ${text}`);
      if (status === 3 || status === 16) await caller.login(0);
    }
  }
}

function range(prefix: string): Record<'key' | 'range_end', Buffer> & { permType: number } {
  return { permType: 2, key: Buffer.from(`${prefix}/`), range_end: Buffer.from(`${prefix}0`) };
}

/** The store holds what was acknowledged and nothing that was refused, and is the same on all members. */
async function verify(t: TestContext, scene: Scene, administrator: Administrator): Promise<void> {
  const everything = { key: Buffer.from([0]), range_end: Buffer.from([0]), keys_only: true };
  const { kvs, header } = await administrator.ask('Range', everything);
  const stored = new Set((kvs as readonly Message[]).map(({ key }) => String(key)));
  for (const [key, expected] of scene.keys) {
    if (expected !== undefined) assert.equal(stored.has(key), expected, `${key} ${expected ? 'lost' : 'refused'}`);
  }
  const served = [...scene.keys.values()].filter(expected => expected === true).length;
  t.diagnostic(`${served} writes served, ${scene.keys.size - served} not`);
  const { revision } = header as Message;
  const hashes: unknown[] = [];
  for (const endpoint of scene.endpoints) {
    const caller = new Caller(new Scene(scene.rights, scene.prng, [endpoint]), 'root');
    await caller.login(0);
    // It has applied everything when it answers this.
    const [current] = await caller.ask('Range', { key: Buffer.from('news/0') });
    assert.equal(current.status, 0, current.text);
    const [hash] = await caller.ask('Hash', {});
    const [hashKv] = await caller.ask('HashKV', { revision: revision as bigint });
    hashes.push([hash.status, hash.response?.hash, hashKv.status, hashKv.response?.hash]);
    caller.close();
  }
  assert.equal((hashes[0] as unknown[])[0], 0, 'root may ask for the hash');
  for (const hash of hashes) assert.deepEqual(hash, hashes[0], 'the same data, users and roles on all members');
}
