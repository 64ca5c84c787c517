/**
 * Single members of a running cluster end, in order or at once, and come back, while clients write and read at all
 * three endpoints: the others go on, nothing acknowledged is lost, and the member that was away ends with the same
 * keys as the others, by log or, when the log is gone, by snapshot.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Cluster, ClusterMember } from '../../src/index.js';
import { followerOf, leaderOf, progress, underLoad } from './under-load.js';

/** The newest `state-<n>` directory of a member. */
function stateGeneration(cluster: Cluster, member: ClusterMember): number {
  const names = readdirSync(join(cluster.dataDir, member.name));
  return Math.max(...names.filter(name => name.startsWith('state-')).map(name => Number(name.slice('state-'.length))));
}

for (const end of ['kill', 'stop'] as const) {
  test(`${end} a follower under load: writes go on, it catches up by log`, t =>
    underLoad(t, {}, async ({ cluster, load }) => {
      const member = followerOf(cluster);
      await member[end]();
      await progress(load, 300);
      await member.start();
      await progress(load, 100);
    }));

  test(`${end} the leader under load: another leads, it catches up by log`, t =>
    underLoad(t, {}, async ({ cluster, load }) => {
      const member = leaderOf(cluster);
      await member[end]();
      await progress(load, 300);
      assert.notEqual(leaderOf(cluster), member);
      await member.start();
      await progress(load, 100);
    }));
}

test('a member whose log is gone catches up by snapshot', t =>
  underLoad(t, { snapshotCount: 100, snapshotCatchUpEntries: 10 }, async ({ cluster, load }) => {
    const member = followerOf(cluster);
    await member.kill();
    const before = stateGeneration(cluster, member);
    await progress(load, 1_500);
    await member.start();
    await progress(load, 100);
    // Each snapshot that a member takes over is a new generation of its state.
    assert(stateGeneration(cluster, member) > before, 'no snapshot was installed');
  }));

test('members end and come back, again and again', t =>
  underLoad(t, { snapshotCount: 200, snapshotCatchUpEntries: 20 }, async ({ cluster, load, prng }) => {
    for (let round = 0; round < 8; round++) {
      const member = cluster.members[prng.nextBelow(cluster.members.length)]!;
      await (prng.nextBelow(3) === 0 ? member.stop() : member.kill());
      await progress(load, 50 + prng.nextBelow(300));
      await member.start();
      if (prng.nextBelow(2) === 0) await progress(load, 50 + prng.nextBelow(100));
    }
  }));

test('all members end at once and lose nothing', t =>
  underLoad(t, {}, async ({ cluster, load }) => {
    for (let round = 0; round < 2; round++) {
      await Promise.all(cluster.members.map(member => member.kill()));
      await Promise.all(cluster.members.map(member => member.start()));
      await progress(load, 200);
    }
  }));
