/**
 * A cluster in this process under load, for scripts that take its members down and bring them back.
 *
 * When the script is over, every member that is there then is checked against what clients were told.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import type { TestContext } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import { type Cluster, type ClusterMember, type ClusterOptions, startCluster } from '../../src/index.js';
import { GrpcClient } from '../support/grpc-client.js';
import { Ledger } from './ledger.js';
import { LedgerClient } from './ledger-client.js';
import { verify } from './verify.js';

export interface Scene {
  readonly cluster: Cluster;
  readonly load: LedgerClient;
  readonly prng: Prng;
  /** Where the load goes, `host:port` each; an address that is replaced is called from then on. */
  readonly endpoints: string[];
}

/** Plays `script` on a new cluster under load, then ends the load and checks every member against the ledger. */
export async function underLoad(
  t: TestContext,
  options: ClusterOptions,
  script: (scene: Scene) => Promise<void>,
): Promise<void> {
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const prng = new Prng(seed);
  await using cluster = await startCluster({ members: 3, logLevel: 'silent', ...options });
  const endpoints = addressesOf(cluster);
  const ledger = new Ledger();
  const load = new LedgerClient(ledger, endpoints, prng);
  const running = load.run();
  try {
    await progress(load, 100);
    await script({ cluster, load, prng, endpoints });
  } finally {
    load.stop();
    await running;
  }
  const unknown = ledger.unknown.size;
  const clients = await Promise.all(addressesOf(cluster).map(endpoint => GrpcClient.connect(endpoint)));
  try {
    const { resolved } = await verify(ledger, clients);
    t.diagnostic(`${ledger.history.size} writes, ${unknown} without an answer, ${resolved} of them happened`);
  } finally {
    for (const client of clients) client.close();
  }
}

const progressMsMax = 30_000;

export async function progress(load: LedgerClient, writes: number): Promise<void> {
  assert(await load.progress(writes, progressMsMax), `not ${writes} writes in ${progressMsMax} ms`);
}

/** The client address of each member, `host:port`. */
export function addressesOf(cluster: Cluster): string[] {
  return cluster.endpoints.map(url => url.replace('http://', ''));
}

export function leaderOf(cluster: Cluster): ClusterMember {
  const leader = cluster.leader();
  assert(leader !== undefined, 'the cluster has a leader');
  return leader;
}

export function followerOf(cluster: Cluster): ClusterMember {
  const leader = leaderOf(cluster);
  const follower = cluster.members.find(member => member !== leader);
  assert(follower !== undefined, 'the cluster has a follower');
  return follower;
}
