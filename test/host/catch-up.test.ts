/** A member that comes back under load catches up in bounded turns: real threads, counted by the member itself. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ClusterMember, connect, startCluster } from '../../src/index.js';
import { scrape } from '../support/exposition.js';

test('what a member missed is written in bounded pieces', async context => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const dataDir = join(directory, 'data');
  await using cluster = await startCluster({ dataDir, logLevel: 'silent', snapshotCount: 1_000_000 });
  const follower = cluster.members.find(member => member !== cluster.leader()) as ClusterMember;
  const client = cluster.client();
  await client.put('first', '');
  await follower.kill();
  const missed = 12_000;
  const value = Buffer.alloc(300, 'v');
  for (let from = 0; from < missed; from += 1_000) {
    await Promise.all(Array.from({ length: 1_000 }, (_, at) => client.put(`key-${from + at}`, value)));
  }
  await follower.start();
  const there = connect({ endpoints: [follower.endpoint] });
  // A linearizable read: answered when the member has applied what the others have.
  assert.equal((await there.get(`key-${missed - 1}`))?.value.length, value.length);
  await there.close();
  const metrics = await scrape(follower.endpoint);
  const writes = (upTo: string): number => metrics.value(`kvorum_turn_entries_bucket{le="${upTo}"}`);
  assert.ok(metrics.value('kvorum_turn_entries_sum') >= missed, 'they came as entries');
  assert.equal(writes('+Inf') - writes('4096'), 0, 'no write of more than 4096 entries');
});
