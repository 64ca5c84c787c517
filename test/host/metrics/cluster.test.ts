/**
 * The metrics of a running cluster: what they count is what was done, as far as it can be known otherwise.
 */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { type Cluster, type ClusterMember, type ClusterOptions, connect, startCluster } from '../../../src/index.js';
import { decode } from '../../../src/wire/schema.js';
import { type Exposition, scrape } from '../../support/exposition.js';
import { GrpcClient } from '../../support/grpc-client.js';

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

async function start(options: ClusterOptions = {}): Promise<Cluster> {
  cluster = await startCluster({ logLevel: 'silent', ...options });
  return cluster;
}

/** Scrapes until it is so: members publish some of their gauges once a tick. */
async function scrapeUntil(member: ClusterMember, holds: (found: Exposition) => boolean): Promise<Exposition> {
  for (;;) {
    const found = await scrape(member.endpoint);
    if (holds(found)) return found;
  }
}

function kv(name: string, method: string, code?: string): string {
  const labels = `grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="${method}"`;
  return `grpc_server_${name}_total{${labels}${code === undefined ? '' : `,grpc_code="${code}"`}}`;
}

const durationOfPuts = 'etcd_server_apply_duration_seconds_count{version="v3",op="Put",success="true"}';

test('calls, writes and proposals are counted once, on whom they concern', async () => {
  const { members } = await start({ metrics: 'extensive' });
  const [called, ...others] = members as [ClusterMember, ...ClusterMember[]];
  const client = connect({ endpoints: called.endpoint });
  const puts = 50;
  await Promise.all(Array.from({ length: puts }, (_, at) => client.put(`k${at}`, 'v')));
  await client.get('k1');
  await assert.rejects(client.put('', 'v'));
  await client.close();

  const found = await scrape(called.endpoint);
  assert.equal(found.value(kv('started', 'Put')), puts + 1);
  assert.equal(found.value(kv('handled', 'Put', 'OK')), puts);
  assert.equal(found.value(kv('handled', 'Put', 'InvalidArgument')), 1);
  assert.equal(found.value(kv('handled', 'Put', 'Unavailable')), 0);
  assert.equal(found.value(kv('msg_sent', 'Put')), puts);
  assert.equal(
    found.value(
      'grpc_server_handling_seconds_count{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Range"}',
    ),
    1,
  );
  assert.equal(found.value('kvorum_request_fine_seconds_count{method="KV/Put"}'), puts + 1);
  assert.equal(found.value('etcd_mvcc_put_total'), puts);
  assert.equal(found.value(durationOfPuts), puts);
  assert.equal(found.value('etcd_mvcc_range_total'), 1);
  assert.equal(found.value('etcd_server_range_duration_seconds_count{success="true"}'), 1);
  assert.equal(found.value('etcd_server_proposals_pending'), 0);
  const applied = found.value('etcd_server_proposals_applied_total');
  for (const other of others) {
    const theirs = await scrapeUntil(other, each => each.value('etcd_server_proposals_applied_total') === applied);
    assert.equal(theirs.value('etcd_mvcc_put_total'), puts);
    assert.equal(theirs.value(kv('started', 'Put')), 0);
    assert.equal(theirs.sum('etcd_server_has_leader'), 1);
  }
  const leading = await Promise.all(
    members.map(async ({ endpoint }) => (await scrape(endpoint)).value('etcd_server_is_leader')),
  );
  assert.deepEqual(leading.sort(), [0, 0, 1]);
});

test('bytes are those of the messages; what went into a ring at one end came out at the other', async () => {
  const { members } = await start();
  const [first, second] = members as [ClusterMember, ClusterMember];
  const client = await GrpcClient.connect(new URL(first.endpoint).host);
  const request = Buffer.from('0a016b120176', 'hex');
  const { messages } = await client.unary('/etcdserverpb.KV/Put', request);
  await client.close();
  const sentName = `etcd_network_peer_sent_bytes_total{To="${second.id}"}`;
  const found = await scrapeUntil(first, each => each.value(sentName) > 0);
  assert.equal(found.value('etcd_network_client_grpc_received_bytes_total'), request.length);
  assert.equal(found.value('etcd_network_client_grpc_sent_bytes_total'), messages[0]?.length);
  const sent = found.value(sentName);
  const received = `etcd_network_peer_received_bytes_total{From="${first.id}"}`;
  await scrapeUntil(second, each => each.value(received) >= sent);
  const active = `etcd_network_active_peers{Local="${first.id}",Remote="${second.id}"}`;
  await scrapeUntil(first, each => each.value(active) === 1);
  const roundTrips = `etcd_network_peer_round_trip_time_seconds_count{To="${second.id}"}`;
  await scrapeUntil(first, each => each.value(roundTrips) > 0);
});

test('a stop of the leader is one more change on each of the others; the one that returns begins anew', async () => {
  const { members } = await start();
  const leader = cluster?.leader() as ClusterMember;
  const others = members.filter(member => member !== leader);
  await (cluster as Cluster).client().put('k', 'v');
  const changes = 'etcd_server_leader_changes_seen_total';
  const before = await Promise.all(others.map(async ({ endpoint }) => (await scrape(endpoint)).value(changes)));
  await leader.stop();
  for (const [at, other] of others.entries()) {
    const lost = `etcd_network_disconnected_peers_total{Local="${other.id}",Remote="${leader.id}"}`;
    await scrapeUntil(
      other,
      each => each.value(changes) === (before[at] as number) + 1 && each.value('etcd_server_has_leader') === 1,
    );
    // Who is heard of is told with the next tick.
    const told = await scrapeUntil(other, each => each.value(lost) > 0);
    assert.equal(told.value(lost), 1);
  }
  await leader.start();
  const found = await scrape(leader.endpoint);
  assert.equal(found.value(changes), 1);
  assert.equal(found.value('kvorum_member_starts_total'), 2);
});

test('the size of the store is the one that Status tells', async () => {
  const [member] = (await start({ members: 1 })).members as [ClusterMember];
  const client = await GrpcClient.connect(new URL(member.endpoint).host);
  for (let at = 0; at < 100; at += 1) await cluster?.client().put(`k${at}`, 'v'.repeat(1_000));
  const settled = async (): Promise<boolean> => {
    const { messages } = await client.unary('/etcdserverpb.Maintenance/Status', new Uint8Array());
    const { dbSize, dbSizeInUse, dbSizeQuota } = decode('etcdserverpb.StatusResponse', messages[0] as Uint8Array);
    const found = await scrape(member.endpoint);
    assert.equal(found.value('etcd_server_quota_backend_bytes'), Number(dbSizeQuota));
    const size = found.value('etcd_mvcc_db_total_size_in_bytes');
    const inUse = found.value('etcd_mvcc_db_total_size_in_use_in_bytes');
    return size > 100_000 && size === Number(dbSize) && inUse === Number(dbSizeInUse);
  };
  while (!(await settled()));
  await client.close();
});

test('a metrics URL of its own shows metrics and health, and nothing else', async () => {
  const urls = ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'http://127.0.0.1:0'];
  const { members } = await start({ listenMetricsUrls: urls });
  for (const { metricsUrl, id } of members) {
    const found = await scrape(metricsUrl as string);
    assert.equal(found.value(`etcd_server_id{server_id="${id}"}`), 1);
    assert.equal(found.families.has('grpc_server_handling_seconds'), false);
    const statuses = await Promise.all(
      ['/health', '/livez', '/readyz', '/version', '/v3/kv/range'].map(async path => {
        const response = await fetch(`${metricsUrl}${path}`);
        await response.text();
        return response.status;
      }),
    );
    assert.deepEqual(statuses, [200, 200, 200, 404, 404]);
  }
});

test('calls over the JSON gateway count as the gRPC calls that they are', async () => {
  const [member] = (await start({ members: 1 })).members as [ClusterMember];
  const body = JSON.stringify({ key: 'aw==', value: 'dg==' });
  const response = await fetch(`${member.endpoint}/v3/kv/put`, { method: 'POST', body });
  assert.equal(response.status, 200);
  await response.text();
  const found = await scrape(member.endpoint);
  assert.equal(found.value(kv('handled', 'Put', 'OK')), 1);
  assert.equal(found.value(kv('msg_received', 'Put')), 1);
  assert.equal(found.value('etcd_network_client_grpc_received_bytes_total'), 6);
});
