/**
 * The membership changes under load while members end: writes go on whenever a majority of the configuration lives,
 * nothing acknowledged is lost, and every member of the end holds the same (fault F41, M1, M3, R30).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, ClusterMember } from '../../src/index.js';
import { addressesOf, followerOf, leaderOf, progress, underLoad } from './under-load.js';

/** Snapshots often, so that newcomers catch up by state and log both. */
const options = { snapshotCount: 300, snapshotCatchUpEntries: 30, strictReconfigCheck: false };

/** From now on the load calls `member` where it called the one that `endpoint` belonged to. */
function redirect(endpoints: string[], endpoint: string, member: ClusterMember): void {
  endpoints[endpoints.indexOf(endpoint.replace('http://', ''))] = member.endpoint.replace('http://', '');
}

function namesOf(cluster: Cluster): string[] {
  return cluster.members.map(({ name }) => name);
}

test('a voter is added while a member is down: it catches up, the other comes back', t =>
  underLoad(t, options, async ({ cluster, load }) => {
    const down = followerOf(cluster);
    await down.kill();
    await progress(load, 500);
    const added = await cluster.addMember();
    await progress(load, 300);
    // Of four voters two are down and nobody can write; with one of them back the newcomer's vote makes the majority.
    const second = cluster.members.find(member => ![down, added, leaderOf(cluster)].includes(member)) as ClusterMember;
    await second.kill();
    await down.start();
    await progress(load, 300);
    await second.start();
    await progress(load, 100);
  }));

test('the leader is removed while it leads: another leads, and it is gone', t =>
  underLoad(t, options, async ({ cluster, load }) => {
    const leader = leaderOf(cluster);
    await Promise.all([cluster.removeMember(leader.name), progress(load, 500)]);
    assert.equal(leader.running, false);
    assert.equal(cluster.members.includes(leader), false);
    assert.notEqual(leaderOf(cluster), leader);
    await assert.rejects(leader.start(), /was removed/);
    await progress(load, 300);
  }));

test('every member is replaced, one after the other, while others are killed', t =>
  underLoad(t, options, async ({ cluster, load, prng, endpoints }) => {
    for (const founder of [...cluster.members]) {
      const added = await cluster.addMember({ learner: prng.nextBelow(2) === 0 });
      const victim = cluster.members.filter(member => member !== added && member !== founder)[prng.nextBelow(2)];
      await victim?.kill();
      await progress(load, 100);
      await victim?.start();
      if (await isLearner(cluster, added)) await cluster.promoteMember(added.name);
      redirect(endpoints, founder.endpoint, added);
      await cluster.removeMember(founder.name);
      await progress(load, 100);
    }
    assert.deepEqual(namesOf(cluster), ['m4', 'm5', 'm6']);
    assert.deepEqual([...endpoints].sort(), addressesOf(cluster).sort());
  }));

async function isLearner(cluster: Cluster, member: ClusterMember): Promise<boolean> {
  const members = await cluster.client().memberList();
  return members.some(({ id, isLearner }) => isLearner && id.toString(16) === member.id);
}

test('one member grows to three and shrinks to another one', t =>
  underLoad(t, { ...options, members: 1 }, async ({ cluster, load, endpoints }) => {
    const [founder] = cluster.members as [ClusterMember];
    for (let count = 2; count <= 3; count++) {
      await cluster.addMember();
      await progress(load, 200);
    }
    const last = cluster.members[2] as ClusterMember;
    redirect(endpoints, founder.endpoint, last);
    await cluster.removeMember(founder.name);
    await progress(load, 200);
    await cluster.removeMember('m2');
    assert.deepEqual(namesOf(cluster), ['m3']);
    await progress(load, 200);
  }));
