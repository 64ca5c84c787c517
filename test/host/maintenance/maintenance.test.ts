/**
 * Maintenance of a running cluster: leadership moved, hashes, downgrades, status, alarms and the quota.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { call, clientFor, directoryFor, followerOf, idOf, leaderOf, outcome, startFor, until } from './stage.js';

test('MoveLeader answers when the target leads, and only the leader moves', async t => {
  const cluster = await startFor(t);
  const former = leaderOf(cluster);
  const target = followerOf(cluster);
  const atFormer = await clientFor(t, former);
  const atTarget = await clientFor(t, target);
  const move = { targetID: idOf(target) };
  assert.equal(await outcome(atTarget, 'Maintenance/MoveLeader', move), '9 etcdserver: not leader');
  const unknown = { targetID: 77n };
  assert.equal(await outcome(atFormer, 'Maintenance/MoveLeader', unknown), '9 etcdserver: bad leader transferee');
  assert.deepEqual(await call(atFormer, 'Maintenance/MoveLeader', { targetID: idOf(former) }), {});
  assert.deepEqual(await call(atFormer, 'Maintenance/MoveLeader', move), {});
  assert.equal((await call(atTarget, 'Maintenance/Status')).leader, idOf(target));
  assert.equal(cluster.leader(), target);
  await cluster.client().put('k', 'v');
});

test('a target that is gone: the transfer took too long, and the leader stays', async t => {
  const cluster = await startFor(t, { heartbeatIntervalMs: 20, electionTimeoutMs: 200 });
  const leader = leaderOf(cluster);
  const target = followerOf(cluster);
  const client = await clientFor(t, leader);
  await target.kill();
  assert.equal(
    await outcome(client, 'Maintenance/MoveLeader', { targetID: idOf(target) }),
    '2 etcdserver: request timed out, leader transfer took too long',
  );
  assert.equal(cluster.leader(), leader);
  await cluster.client().put('k', 'v');
});

test('Hash is equal on all members and sees every write', async t => {
  const cluster = await startFor(t);
  const client = cluster.client();
  const clients = await Promise.all(cluster.members.map(member => clientFor(t, member)));
  const hashes = async () => {
    // A linearizable read at each member: all have applied what was written.
    for (const one of clients) await call(one, 'KV/Range', { key: Buffer.from('k') });
    return Promise.all(clients.map(async one => (await call(one, 'Maintenance/Hash')).hash));
  };
  const first = await hashes();
  assert.equal(new Set(first).size, 1, String(first));
  for (let at = 0; at < 3_000; at++) await client.put(`k${at % 50}`, `v${at}`);
  const second = await hashes();
  assert.equal(new Set(second).size, 1, String(second));
  assert.notEqual(second[0], first[0]);
});

test('a downgrade is validated, enabled, seen by all members and after a restart, and cancelled', async t => {
  const dataDir = join(directoryFor(t), 'data');
  let cluster = await startFor(t, { dataDir });
  let client = await clientFor(t, followerOf(cluster));
  const downgrade = (action: number, version = '') => outcome(client, 'Maintenance/Downgrade', { action, version });
  const version = async (answer: Promise<unknown>) => ((await answer) as { version: string }).version;
  assert.equal(await downgrade(0, 'x'), '3 etcdserver: wrong downgrade target version format');
  assert.equal(await downgrade(1, '3'), '3 etcdserver: wrong downgrade target version format');
  assert.equal(await downgrade(0, '3.4'), '3 etcdserver: invalid downgrade target version');
  assert.equal(await downgrade(0, '3.6.0'), '3 etcdserver: invalid downgrade target version');
  assert.equal(await downgrade(7), '2 etcdserver: unknown method');
  assert.equal(await version(downgrade(2)), '3.6', 'nothing to cancel');
  assert.equal(await version(downgrade(0, '3.5.9-rc.1')), '3.6');
  assert.equal(await version(downgrade(1, '3.5')), '3.6');
  // For up to four seconds the cluster version stays; then the only way down is one further.
  assert.match(String(await downgrade(0, '3.5')), /downgrade job in progress|invalid downgrade target/);
  await cluster.close();
  cluster = await startFor(t, { dataDir });
  for (const member of cluster.members) {
    const one = await clientFor(t, member);
    const status = () => call(one, 'Maintenance/Status');
    assert.deepEqual((await status()).downgradeInfo, { enabled: true, targetVersion: '3.5.0' });
    await until(async () => (await status()).storageVersion === '3.5.0');
    const { etcdcluster } = (await (await fetch(`${member.endpoint}/version`)).json()) as { etcdcluster: string };
    assert.equal(etcdcluster, '3.5.0');
  }
  client = await clientFor(t, leaderOf(cluster));
  assert.equal(await version(downgrade(2)), '3.5');
  const status = () => call(client, 'Maintenance/Status');
  assert.deepEqual((await status()).downgradeInfo, { enabled: false, targetVersion: '' });
  await until(async () => (await status()).storageVersion === '3.6.0');
});

test('NOSPACE: writes are refused; delete, compact, defragment and disarm bring them back', async t => {
  const quotaBackendBytes = 600_000;
  const cluster = await startFor(t, { quotaBackendBytes });
  const client = await clientFor(t, followerOf(cluster));
  const put = (key: string, value = Buffer.alloc(20_000, 'v')) =>
    outcome(client, 'KV/Put', { key: Buffer.from(key), value });
  const refused = '8 etcdserver: mvcc: database space exceeded';
  const alarms = async () => (await call(client, 'Maintenance/Alarm', { action: 0 })).alarms as { memberID: bigint }[];
  let puts = 0;
  while ((await put(`k${puts}`)) !== refused) puts += 1;
  assert.ok(puts > 3, `${puts} puts`);
  await until(async () => (await alarms()).length > 0);
  // Also what is small enough, through every member.
  assert.equal(await put('small', Buffer.alloc(1)), refused);
  assert.equal(await outcome(client, 'Lease/LeaseGrant', { TTL: 60n }), refused);
  const txn = { success: [{ request_put: { key: Buffer.from('t'), value: Buffer.alloc(1) } }] };
  assert.equal(await outcome(client, 'KV/Txn', txn), refused);
  assert.match(String((await call(client, 'Maintenance/Status')).errors), /^memberID:\d+ alarm:NOSPACE /);
  const { deleted, header } = await call(client, 'KV/DeleteRange', {
    key: Buffer.from('k'),
    range_end: Buffer.from('l'),
  });
  assert.ok((deleted as bigint) >= BigInt(puts));
  const { revision } = header as { revision: bigint };
  await call(client, 'KV/Compact', { revision, physical: true });
  for (const member of cluster.members) {
    const one = await clientFor(t, member);
    await until(async () => {
      await call(one, 'Maintenance/Defragment');
      return ((await call(one, 'Maintenance/Status')).dbSize as bigint) < 200_000n;
    });
  }
  assert.equal(await put('still', Buffer.alloc(1)), refused, 'the alarm stays until it is disarmed');
  for (const { memberID } of await alarms()) {
    const disarmed = await call(client, 'Maintenance/Alarm', { action: 2, memberID, alarm: 1 });
    assert.deepEqual(disarmed.alarms, [{ memberID, alarm: 1 }]);
  }
  assert.deepEqual(await alarms(), []);
  assert.equal(typeof (await put('again', Buffer.alloc(1))), 'object');
});

test('CORRUPT: an active alarm refuses every write of the cluster until it is disarmed', async t => {
  const cluster = await startFor(t);
  const client = await clientFor(t, followerOf(cluster));
  const alarm = { memberID: 5n, alarm: 2 };
  assert.deepEqual((await call(client, 'Maintenance/Alarm', { action: 1, ...alarm })).alarms, [alarm]);
  const put = () => outcome(client, 'KV/Put', { key: Buffer.from('k') });
  assert.equal(await put(), '15 etcdserver: corrupt cluster');
  assert.equal(await outcome(client, 'KV/Compact', { revision: 1n }), '15 etcdserver: corrupt cluster');
  assert.equal(typeof (await outcome(client, 'KV/Range', { key: Buffer.from('k') })), 'object');
  assert.deepEqual((await call(client, 'Maintenance/Alarm', { action: 2, memberID: 6n, alarm: 2 })).alarms, []);
  assert.deepEqual((await call(client, 'Maintenance/Alarm', { action: 2, ...alarm })).alarms, [alarm]);
  assert.equal(typeof (await put()), 'object');
});
