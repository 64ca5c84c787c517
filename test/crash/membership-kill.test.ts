/**
 * kill -9 of the whole host between any two steps of an addition and of a removal: the next start is clean, every listed
 * member gets a thread that catches up, a removed one stays away, and nothing acknowledged is lost.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.js';
import { connect } from '../../src/client/connect.js';
import type { EtcdClient } from '../../src/index.js';
import { ownDirectory } from '../support/server-process.js';
import { planKvorum, ServerLife, type ServerPlan } from './server-life.js';

const cycles = 4;
const killWithinMs = 250;
const untilMs = 30_000;

for (const members of [1, 3]) {
  test(`the host is killed while a member comes and while it goes, members: ${members}`, async t => {
    const directory = await ownDirectory('kvorum-members-');
    const flags = ['--strict-reconfig-check=false', '--snapshot-count', '20', '--snapshot-catchup-entries', '5'];
    const plan = await planKvorum(directory.path, members, flags);
    const seed = randomInt(2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const host = new Host(plan, new Prng(seed));
    try {
      await run(t, host, members);
    } finally {
      await host.end();
      await directory.remove();
    }
  });
}

async function run(t: TestContext, host: Host, members: number): Promise<void> {
  let started = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const client = await host.client();
    await client.put(`key/${cycle}`, 'acknowledged');
    const { id } = await client.memberAdd([`http://127.0.0.1:${cycle + 1}`]);
    if (await host.killSoon(/starting an added member/)) started += 1;

    const second = await host.client();
    // Started at last, whenever the kill came: it has told its name.
    await eventually(second, async () => (await second.memberList()).every(({ name }) => name !== ''));
    assert.equal((await second.memberList()).length, members + 1);
    await second.put(`second/${cycle}`, 'acknowledged');
    await second.memberRemove(id);
    await host.killSoon(/permanently removed/);

    const third = await host.client();
    const ids = (await third.memberList()).map(member => member.id);
    assert.deepEqual([ids.length, ids.includes(id)], [members, false], 'a removed member stays away');
    assert.equal((await third.getAll({ prefix: 'key/' })).kvs.length, cycle + 1);
    assert.equal((await third.getAll({ prefix: 'second/' })).kvs.length, cycle + 1);
    await assert.rejects(third.memberPromote(id), /member not found/);
  }
  t.diagnostic(`${started} of ${cycles} additions had begun to start their thread`);
}

/** One server, killed and started again on its data. */
class Host {
  readonly #plan: ServerPlan;
  readonly #prng: Prng;
  #life: ServerLife;
  #client: EtcdClient | undefined;

  constructor(plan: ServerPlan, prng: Prng) {
    this.#plan = plan;
    this.#prng = prng;
    this.#life = ServerLife.start(plan);
  }

  /** A client, once every founding member answers a linearizable read. */
  async client(): Promise<EtcdClient> {
    if (this.#client === undefined) {
      for (const ready of await this.#life.ready()) ready.close();
      this.#client = connect({ endpoints: [...this.#plan.endpoints] });
    }
    return this.#client;
  }

  /** Kills the host within a moment and starts it again; whether it had come to log `line`. */
  async killSoon(line: RegExp): Promise<boolean> {
    await delay(this.#prng.nextBelow(killWithinMs));
    this.#client?.close();
    this.#client = undefined;
    await this.#life.kill();
    const logged = line.test(this.#life.output);
    this.#life = ServerLife.start(this.#plan);
    return logged;
  }

  async end(): Promise<void> {
    this.#client?.close();
    await this.#life.kill();
  }
}

async function eventually(client: EtcdClient, holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + untilMs;
  while (!(await holds())) {
    assert.ok(
      performance.now() < deadlineMs,
      JSON.stringify(await client.memberList(), (_, v) => String(v)),
    );
    await delay(20);
  }
}
