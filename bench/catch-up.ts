/**
 * What does a member's catching up cost? Puts go on while a follower is killed, stays away and comes back; told are the
 * longest turns and the largest log writes of the one that comes back and of the leader that feeds it.
 *
 * Run: node dist/bench/catch-up.js [puts outstanding] [seconds away] [rounds]
 *
 * The log is kept whole, so that everything missed comes as entries.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Cluster, type ClusterMember, startCluster } from '../src/index.js';
import { keyOf } from '../src/load/requests.js';
import { type Exposition, scrape } from '../test/support/exposition.js';

const [outstanding = 1_000, secondsAway = 3, rounds = 3] = process.argv.slice(2, 5).map(Number);
const keySpace = 100_000;

/** The upper bound of the highest bucket that was hit between two scrapes; Infinity above the last. */
function largest(family: string, after: Exposition, before?: Exposition): number {
  const series = [...(after.families.get(family)?.series ?? [])].filter(([name]) => name.includes('_bucket'));
  let [below, highest] = [0, 0];
  for (const [name, count] of series) {
    const grown = count - (before?.families.get(family)?.series.get(name) ?? 0);
    const bound = /le="([^"]+)"/.exec(name)?.[1];
    if (grown > below) highest = bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound);
    below = grown;
  }
  return highest;
}

function applied(exposition: Exposition): number {
  return exposition.value('etcd_server_proposals_applied_total');
}

/** What a member's turns came to at the most, in words. */
function turns(after: Exposition, before?: Exposition): string {
  const ms = largest('kvorum_turn_duration_seconds', after, before) * 1_000;
  return `turns up to ${ms.toFixed(0)} ms, writes up to ${largest('kvorum_turn_entries', after, before)} entries`;
}

async function round(cluster: Cluster, puts: () => number): Promise<void> {
  const leader = cluster.leader() as ClusterMember;
  const follower = cluster.members.find(member => member !== leader) as ClusterMember;
  await follower.kill();
  await delay(secondsAway * 1_000);
  const fed = await scrape(leader.endpoint);
  const [fromMs, fromPuts] = [performance.now(), puts()];
  await follower.start();
  let [mine, theirs] = [await scrape(follower.endpoint), await scrape(leader.endpoint)];
  const missing = applied(theirs) - applied(mine);
  while (applied(mine) < applied(theirs) - 4 * outstanding) {
    await delay(20);
    [mine, theirs] = [await scrape(follower.endpoint), await scrape(leader.endpoint)];
  }
  const seconds = (performance.now() - fromMs) / 1_000;
  const rate = Math.round((puts() - fromPuts) / seconds);
  console.log(`${missing} entries behind after its start, caught up in ${seconds.toFixed(2)} s beside ${rate} puts/s`);
  console.log(`  it          ${turns(mine)}`);
  console.log(`  its leader  ${turns(theirs, fed)}`);
}

const directory = await mkdtemp(join(tmpdir(), 'kvorum-catch-up-'));
const cluster = await startCluster({ dataDir: join(directory, 'data'), logLevel: 'error', snapshotCount: 100_000_000 });
const client = cluster.client();
const value = Buffer.alloc(256, 'kvorum');
let [running, done] = [true, 0];
const loops = Array.from({ length: outstanding }, async (_, at) => {
  for (let key = at; running; key = (key + 7919) % keySpace) {
    await client.put(keyOf(key), value).catch(() => undefined);
    done += 1;
  }
});
await delay(1_000);
for (let at = 0; at < rounds; at += 1) await round(cluster, () => done);
running = false;
await Promise.all(loops);
await cluster.close();
await rm(directory, { recursive: true, force: true });
