/**
 * Scrapes and members leave each other alone: a member whose thread really stands still is shown like any other, and
 * hundreds of scrapes are nothing to a member.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClusterMember } from '../../../src/index.js';
import { decode, encode } from '../../../src/wire/schema.js';
import { Exposition, scrape } from '../../support/exposition.js';
import { clientFor, leaderOf, startFor, until } from '../maintenance/stage.js';

const urls = ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'http://127.0.0.1:0'];
const turns = 'kvorum_turn_duration_seconds_count';
const applied = 'etcd_server_proposals_applied_total';

/** `status body` of a plain HTTP answer. */
async function ask(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}

/** Both places where a member is scraped. */
async function scrapes({ endpoint, metricsUrl }: ClusterMember): Promise<[Exposition, Exposition]> {
  return [await scrape(endpoint), await scrape(metricsUrl as string)];
}

// Side by side: the first waits for health checks to time out.
describe('scrapes', { concurrency: true }, () => {
  test('a leader whose thread stands still is scraped in full, and its health checks end; the others commit', async t => {
    const cluster = await startFor(t, {
      ...{ metrics: 'extensive', listenMetricsUrls: urls, heartbeatIntervalMs: 50, electionTimeoutMs: 250 },
    });
    const blocked = leaderOf(cluster);
    const others = cluster.members.filter(member => member !== blocked);
    await cluster.client().put('k', 'v');
    for (const member of cluster.members) await ask(`${member.endpoint}/readyz`);
    const whole = [...(await scrape(blocked.endpoint)).families.keys()];
    const health = await clientFor(t, blocked);

    await blocked.pause();
    const [stood] = await scrapes(blocked);
    const failing = Promise.all(['/health', '/livez', '/readyz'].map(path => ask(`${blocked.endpoint}${path}`)));
    await until(() => others.includes(cluster.leader() as ClusterMember));
    const puts = 100;
    for (let at = 0; at < puts; at += 1) await cluster.client().put(`k${at}`, 'v');
    // Long enough for many turns of a member that is well.
    const [one, two] = others as [ClusterMember, ClusterMember];
    const from = (await scrape(two.endpoint)).value(turns);
    await until(async () => (await scrape(two.endpoint)).value(turns) > from + 20);
    for (const found of await scrapes(blocked)) {
      assert.deepEqual([...found.families.keys()], whole);
      assert.equal(found.value(`etcd_server_id{server_id="${blocked.id}"}`), 1);
      assert.equal(found.value(turns), stood.value(turns), 'it makes no turn');
      assert.equal(found.value(applied), stood.value(applied));
    }
    for (const found of [...(await scrapes(one)), ...(await scrapes(two))]) {
      assert.deepEqual([...found.families.keys()], whole);
      assert.equal(found.value('etcd_server_has_leader'), 1);
      assert.ok(found.value(applied) >= stood.value(applied) + puts);
    }
    for (const { endpoint } of others) {
      assert.equal(await ask(`${endpoint}/health`), '200 {"health":"true","reason":""}');
      assert.equal(await ask(`${endpoint}/livez`), '200 ok\n');
      assert.equal(await ask(`${endpoint}/readyz`), '200 ok\n');
    }
    const check = await health.unary('/grpc.health.v1.Health/Check', encode('grpc.health.v1.HealthCheckRequest', {}));
    assert.equal(decode('grpc.health.v1.HealthCheckResponse', check.messages[0] as Uint8Array).status, 1, 'as etcd');
    const late = 'failed: etcdserver: request timed out';
    assert.deepEqual(await failing, [
      '503 {"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}\n',
      `503 [-]serializable_read ${late}\n\n`,
      `503 [+]data_corruption ok\n[-]serializable_read ${late}\n[-]linearizable_read ${late}\n[+]non_learner ok\n\n`,
    ]);
    assert.equal(blocked.paused, true, 'the checks ended although it still stands');
    blocked.resume();
    // One that is asked while the leader changes for it fails, as in etcd.
    await until(async () => (await ask(`${blocked.endpoint}/readyz`)) === '200 ok\n');
    assert.ok((await scrape(blocked.endpoint)).value(applied) >= stood.value(applied) + puts);
  });

  test('hundreds of scrapes at once, while puts go on: nothing of them reaches a member', async t => {
    const cluster = await startFor(t, { metrics: 'extensive' });
    const client = cluster.client();
    const leader = leaderOf(cluster);
    const toMember = 'kvorum_ring_bytes_total{link="host",direction="in"}';
    const bytes = async (): Promise<number[]> =>
      await Promise.all(cluster.members.map(async ({ endpoint }) => (await scrape(endpoint)).value(toMember)));
    const puts = async (): Promise<unknown> =>
      await Promise.all(Array.from({ length: 100 }, (_, at) => client.put(`key ${at % 10}`, 'value')));

    await puts();
    const before = await bytes();
    await puts();
    const quiet = await bytes();
    const scraping = Promise.all(
      Array.from({ length: 300 }, async (_, at) => {
        const response = await fetch(`${cluster.endpoints[at % 3]}/metrics`);
        return new Exposition(await response.text()).families.size;
      }),
    );
    await puts();
    const sizes = await scraping;
    const scraped = await bytes();
    assert.equal(new Set(sizes).size, 1, 'each is whole');
    assert.ok((sizes[0] as number) > 100);
    // Each record on a ring has a head of 32 bytes and up to 14 of padding: a hundred puts vary by less than half of what
    // a hundred questions would take.
    scraped.forEach((value, at) => {
      const moved = value - (quiet[at] as number);
      const movedInQuiet = (quiet[at] as number) - (before[at] as number);
      assert.ok(
        Math.abs(moved - movedInQuiet) < 1_600,
        `the rings carried ${moved} bytes, and ${movedInQuiet} in quiet`,
      );
    });
    assert.equal(cluster.leader(), leader);
    for (const { endpoint } of cluster.members) {
      assert.equal((await scrape(endpoint)).value('etcd_server_leader_changes_seen_total'), 1);
    }
  });
});
