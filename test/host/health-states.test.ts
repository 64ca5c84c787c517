/**
 * Health in the states a member can be in, with real threads: no leader, behind by a snapshot, out of space. What stands
 * still is in metrics/blocked.test.ts; the wording of every answer in health.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { type ClusterMember, connect } from '../../src/index.js';
import { decode, encode } from '../../src/wire/schema.js';
import { scrape } from '../support/exposition.js';
import { call, clientFor, followerOf, idOf, leaderOf, startFor, until } from './maintenance/stage.js';

const well = '200 {"health":"true","reason":""}';
const noLeader = '503 {"health":"false","reason":"RAFT NO LEADER"}\n';

/** `status body` of a plain HTTP answer of a member. */
async function ask({ endpoint }: ClusterMember, path: string): Promise<string> {
  const response = await fetch(`${endpoint}${path}`);
  return `${response.status} ${await response.text()}`;
}

/** A health check that is asked before would wait for the leader that is gone. */
async function isLeaderless({ endpoint }: ClusterMember): Promise<boolean> {
  return (await scrape(endpoint)).value('etcd_server_has_leader') === 0;
}

/** Whether it is ready now; a change of the leader is a reason not to be. */
async function isReady(member: ClusterMember): Promise<boolean> {
  return (await ask(member, '/readyz')) === '200 ok\n';
}

const healthRequest = 'grpc.health.v1.HealthCheckRequest';

/** 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN. */
function statusOf(message: Uint8Array): number {
  return decode('grpc.health.v1.HealthCheckResponse', message).status;
}

/** What grpc.health.v1 says of a member's server: 1 is SERVING. */
async function servingStatus(t: TestContext, member: ClusterMember): Promise<number> {
  const client = await clientFor(t, member);
  const { messages } = await client.unary(
    '/grpc.health.v1.Health/Check',
    encode('grpc.health.v1.HealthCheckRequest', {}),
  );
  return decode('grpc.health.v1.HealthCheckResponse', messages[0] as Uint8Array).status;
}

// Side by side: most of it is waiting.
describe('health', { concurrency: true }, () => {
  test('a member without a leader is alive and neither well nor ready; with one again it is both', async t => {
    const cluster = await startFor(t, { heartbeatIntervalMs: 50, electionTimeoutMs: 250 });
    const [left, ...others] = cluster.members as [ClusterMember, ClusterMember, ClusterMember];
    await cluster.client().put('k', 'v');
    for (const other of others) await other.kill();
    await until(() => isLeaderless(left));
    assert.equal(await ask(left, '/health'), noLeader);
    assert.equal(await ask(left, '/health?serializable=true'), well);
    assert.equal(await ask(left, '/livez'), '200 ok\n');
    assert.equal(await ask(left, '/readyz?exclude=linearizable_read'), '200 ok\n');
    assert.equal(await servingStatus(t, left), 1, 'as etcd');
    // With nobody to lead it would fail when the time is up; the new leader's first word ends it before that.
    const waiting = ask(left, '/readyz');
    await others[0].start();
    assert.match(await waiting, /^200 ok\n$|\n\[-\]linearizable_read failed: etcdserver: leader changed\n/);
    await until(() => isReady(left));
    assert.equal(await ask(left, '/health'), well);

    cluster.partition([left]);
    await until(() => isLeaderless(left));
    assert.equal(await ask(left, '/health'), noLeader);
    assert.equal(await ask(left, '/livez'), '200 ok\n');
    cluster.heal();
    await until(() => isReady(left));
  });

  test('a member that comes back behind by a Raft snapshot is ready only when it serves what is new', async t => {
    const cluster = await startFor(t, { snapshotCount: 50, snapshotCatchUpEntries: 5, heartbeatIntervalMs: 50 });
    const behind = followerOf(cluster);
    const client = cluster.client();
    const local = async (): Promise<number> => {
      using remote = connect({ endpoints: behind.endpoint });
      return (await remote.getAll({ prefix: 'k' }, { serializable: true, countOnly: true })).count;
    };
    await client.put('k', 'old');
    await until(async () => (await local()) === 1);
    await behind.kill();
    const keys = 400;
    await Promise.all(Array.from({ length: keys }, (_, at) => client.put(`k${at}`, 'x'.repeat(10_000))));
    cluster.partition([behind]);
    const started = behind.start();
    await until(() =>
      ask(behind, '/livez').then(
        answer => answer === '200 ok\n',
        () => false,
      ),
    );
    assert.equal(await local(), 1, 'what it has is old');
    assert.equal(await ask(behind, '/health'), noLeader);
    const ready = until(() => isReady(behind)).then(local);
    cluster.heal();
    assert.equal(await ready, keys + 1);
    assert.equal(await ask(behind, '/health'), well);
    await started;
    const received = await scrape(behind.endpoint);
    assert.equal(received.sum('etcd_network_snapshot_receive_success'), 1, 'by a snapshot');
  });

  test('members out of space are unwell unless that is excluded, and ready all the time', async t => {
    const cluster = await startFor(t, { quotaBackendBytes: 1_000_000 });
    const fill = async (): Promise<void> => {
      for (;;) await cluster.client().put('k', 'x'.repeat(100_000));
    };
    await assert.rejects(fill(), /database space exceeded/);
    for (const member of cluster.members) {
      await until(async () => (await ask(member, '/health')) !== well);
      assert.equal(await ask(member, '/health'), '503 {"health":"false","reason":"ALARM NOSPACE"}\n');
      assert.equal(await ask(member, '/health?exclude=NOSPACE'), well);
      assert.equal(await ask(member, '/health?serializable=true&exclude=NOSPACE'), well);
      assert.equal(await ask(member, '/livez'), '200 ok\n');
      assert.equal(await ask(member, '/readyz'), '200 ok\n');
      assert.equal(await servingStatus(t, member), 1);
    }
    const raised = (await scrape(cluster.endpoints[0] as string)).families.get('etcd_debugging_server_alarms');
    assert.equal(raised?.series.size, 1);
    const leader = await clientFor(t, leaderOf(cluster));
    for (const memberID of cluster.members.map(idOf))
      await call(leader, 'Maintenance/Alarm', { action: 2, memberID, alarm: 1 });
    for (const member of cluster.members) await until(async () => (await ask(member, '/health')) === well);
  });

  test('gRPC health during a defragmentation: NOT_SERVING with the gate, as etcd, else nothing is said', async t => {
    for (const [stopGrpcServiceOnDefrag, statuses] of [
      [true, [1, 2, 1]],
      [false, [1]],
    ] as const) {
      const cluster = await startFor(t, { members: 1, stopGrpcServiceOnDefrag });
      const [member] = cluster.members as [ClusterMember];
      const client = await clientFor(t, member);
      const watch = client.stream('/grpc.health.v1.Health/Watch');
      watch.send(encode(healthRequest, {}));
      const heard = [statusOf((await watch.next()).value)];
      await call(client, 'Maintenance/Defragment');
      while (heard.length < statuses.length) heard.push(statusOf((await watch.next()).value));
      assert.equal(await servingStatus(t, member), 1);
      await member.stop();
      for await (const message of watch) heard.push(statusOf(message));
      assert.deepEqual(heard, statuses);
      const gate = `etcd_server_feature_enabled{name="StopGRPCServiceOnDefrag",stage="ALPHA"}`;
      await member.start();
      assert.equal((await scrape(member.endpoint)).value(gate), stopGrpcServiceOnDefrag ? 1 : 0);
    }
  });

  test('a watch of health that its client ends leaves room for the next', async t => {
    const cluster = await startFor(t, { members: 1, maxConcurrentStreams: 1 });
    const client = await clientFor(t, cluster.members[0] as ClusterMember);
    for (let round = 0; round < 5; round += 1) {
      const watch = client.stream('/grpc.health.v1.Health/Watch');
      watch.send(encode(healthRequest, { service: round === 4 ? 'unknown' : '' }));
      assert.equal(statusOf((await watch.next()).value), round === 4 ? 3 : 1);
      watch.cancel();
      await watch.status;
    }
  });
});
