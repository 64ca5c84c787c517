/**
 * Three members, the leader killed again and again while a client watches, keeps a lease and writes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cluster, connect, type EtcdClient, EtcdError, startCluster, type WatchEvent } from '../../src/index.js';

const writes = 90;
const killEvery = 30;

const kinds: Readonly<Record<string, (cluster: Cluster) => EtcdClient>> = {
  remote: cluster => connect({ endpoints: cluster.endpoints }),
  'in process': cluster => cluster.client(),
};

for (const [kind, open] of Object.entries(kinds)) {
  test(`${kind}: every event once and in order over the death of leaders; the lease lives`, async () => {
    await using cluster = await startCluster({ members: 3, logLevel: 'silent' });
    const client = open(cluster);
    const lease = await client.lease({ ttlSeconds: 10 });
    const watch = client.watch({ prefix: 'n/' });
    const startRevision = (await watch.created) + 1;
    const live = collect(watch);
    for (let i = 0; i < writes; i++) {
      if (i % killEvery === killEvery / 2) {
        const leader = cluster.leader() ?? cluster.members[0]!;
        await leader.kill();
        await put(client, `n/${i % 7}`, String(i), lease.id);
        await leader.start();
      } else {
        await put(client, `n/${i % 7}`, String(i), lease.id);
      }
    }
    await put(client, 'n/end', '', lease.id);
    const seen = await live;
    // A write without an answer was done again: what there is to see is what the store says, not how often was asked.
    assert.deepEqual(seen, await collect(client.watch({ prefix: 'n/' }, { startRevision })));
    const values = seen.flatMap(line => /=(\d+)$/.exec(line)?.[1] ?? []);
    assert.deepEqual(
      [...new Set(values)].map(Number),
      Array.from({ length: writes }, (_, i) => i),
    );
    assert.equal(lease.lost.aborted, false);
    await lease.revoke();
    client.close();
  });
}

async function collect(watch: AsyncIterable<WatchEvent>): Promise<string[]> {
  const lines: string[] = [];
  for await (const { type, kv, revision } of watch) {
    lines.push(`${revision} ${type} ${kv.key}=${kv.value}`);
    if (kv.key === 'n/end') break;
  }
  return lines;
}

/** Puts until it is done: the same put twice is no harm. */
async function put(client: EtcdClient, key: string, value: string, lease: bigint): Promise<void> {
  for (;;) {
    try {
      await client.put(key, value, { lease, timeoutMs: 2_000 });
      return;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
    }
  }
}
