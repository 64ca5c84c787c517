/**
 * Streams from a socket to a member and back: what ends them, what slows them down, what they survive.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { type Cluster, type ClusterMember, type ClusterOptions, startCluster } from '../../src/index.js';
import { GrpcClient, type GrpcStream } from '../support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../support/messages.js';

const watchPath = '/etcdserverpb.Watch/Watch';
const keepAlivePath = '/etcdserverpb.Lease/LeaseKeepAlive';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

async function start(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', ...options });
  open.push(cluster);
  return cluster;
}

async function connectTo(member: ClusterMember): Promise<GrpcClient> {
  const client = await GrpcClient.connect(new URL(member.endpoint).host);
  open.push(client);
  return client;
}

function leaderOf(cluster: Cluster): ClusterMember {
  return cluster.leader() ?? assert.fail('there is a leader');
}

function followersOf(cluster: Cluster): ClusterMember[] {
  return cluster.members.filter(member => member !== cluster.leader());
}

async function watch(client: GrpcClient, request: Message, metadata: Record<string, string> = {}): Promise<GrpcStream> {
  const stream = client.stream(watchPath, { metadata });
  stream.send(encodeMessage('WatchRequest', { create_request: request }));
  assert.equal((await nextResponse(stream)).created, true);
  return stream;
}

async function nextResponse(stream: GrpcStream): Promise<Message> {
  const { value, done } = await stream.next();
  if (done === true) assert.fail(`the stream ended: ${JSON.stringify(await stream.status)}`);
  return decodeMessage('WatchResponse', value);
}

/** `count` events as `key=value@revision`. */
async function nextEvents(stream: GrpcStream, count: number): Promise<string[]> {
  const events: string[] = [];
  while (events.length < count) {
    for (const event of (await nextResponse(stream)).events as Message[]) {
      const kv = event.kv as Message;
      events.push(
        `${kv.key}=${Buffer.from(kv.value as Uint8Array)
          .toString()
          .slice(0, 8)}@${kv.mod_revision}`,
      );
    }
  }
  return events;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 10));
}

/** Bytes of buffers that are really in use. */
async function heldOutsideHeap(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Buffers are given back behind the collection that found them unused.
  for (let round = 0; round < 3; round += 1) {
    collect();
    await new Promise(resolve => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

const prefix = { key: Buffer.from('k'), range_end: Buffer.from('l') };

test('a watch on every member sees every write, through the death of the leader', async () => {
  const cluster = await start();
  const [a, b] = followersOf(cluster) as [ClusterMember, ClusterMember];
  const streams = [await watch(await connectTo(a), prefix), await watch(await connectTo(b), prefix)];
  const client = cluster.client();
  await client.put('k1', 'one');
  await leaderOf(cluster).kill();
  await until(() => cluster.leader() !== undefined);
  await client.put('k2', 'two');
  for (const stream of streams) assert.deepEqual(await nextEvents(stream, 2), ['k1=one@2', 'k2=two@3']);
});

test('a stream on a member that is taken down ends as a stopped server ends it', async () => {
  const cluster = await start();
  const member = followersOf(cluster)[0] as ClusterMember;
  const stream = await watch(await connectTo(member), prefix);
  await member.kill();
  const { grpcStatus } = await stream.status;
  assert.ok(grpcStatus === 14 || grpcStatus === -1, `Unavailable, or the connection is gone: ${grpcStatus}`);
});

test('a member that is stopped in order ends its streams at once, with their status', async () => {
  const cluster = await start();
  const member = followersOf(cluster)[0] as ClusterMember;
  const connection = await connectTo(member);
  const keepAlive = connection.stream(keepAlivePath);
  keepAlive.send(encodeMessage('LeaseKeepAliveRequest', { ID: 1n }));
  await keepAlive.next();
  const streams = [await watch(connection, prefix), keepAlive];
  const stopped = member.stop();
  for (const stream of streams) {
    assert.deepEqual(await stream.status, { grpcStatus: 14, grpcMessage: 'etcdserver: server stopped' });
  }
  await stopped;
});

test('without a leader a stream that asked for one ends, and one that did not goes on', async () => {
  const cluster = await start({ electionTimeoutMs: 250, heartbeatIntervalMs: 50 });
  const [survivor, second] = followersOf(cluster) as [ClusterMember, ClusterMember];
  const connection = await connectTo(survivor);
  const cautious = await watch(connection, prefix, { hasleader: 'true' });
  const patient = await watch(connection, prefix);
  const leader = leaderOf(cluster);
  await Promise.all([leader.kill(), second.kill()]);
  assert.deepEqual(await cautious.status, { grpcStatus: 14, grpcMessage: 'etcdserver: no leader' });
  const refused = connection.stream(watchPath, { metadata: { hasleader: 'true' } });
  assert.deepEqual(await refused.status, { grpcStatus: 14, grpcMessage: 'etcdserver: no leader' });
  await Promise.all([leader.start(), second.start()]);
  await cluster.client().put('k', 'again');
  assert.deepEqual(await nextEvents(patient, 1), ['k=again@2']);
});

test('a reader that stops reading holds little memory, delays nobody, and misses nothing', async () => {
  const cluster = await start({ members: 1 });
  const member = cluster.members[0] as ClusterMember;
  const slow = await watch(await connectTo(member), prefix);
  const quick = await watch(await connectTo(member), prefix);
  slow.pause();
  const client = cluster.client();
  const value = 'x'.repeat(64 * 1024);
  const beforeBytes = await heldOutsideHeap();
  const wanted: string[] = [];
  for (let at = 0; at < 1_000; at += 1) {
    await client.put(`k${at}`, value);
    wanted.push(`k${at}=xxxxxxxx@${at + 2}`);
    assert.deepEqual(await nextEvents(quick, 1), wanted.slice(-1));
  }
  // The test's own end of the connection may hold its flow-control window, 16 MiB.
  const heldBytes = (await heldOutsideHeap()) - beforeBytes;
  assert.ok(heldBytes < 20 * 2 ** 20, `64 MB of events are not kept for the slow reader: ${heldBytes} bytes`);
  slow.resume();
  assert.deepEqual(await nextEvents(slow, 1_000), wanted);
});

test('a watch outlives the snapshot that replaces its member’s state', async () => {
  const cluster = await start({ snapshotCount: 20, snapshotCatchUpEntries: 5 });
  const member = followersOf(cluster)[0] as ClusterMember;
  const client = cluster.client();
  await client.put('k', 'before');
  await member.kill();
  for (let at = 0; at < 200; at += 1) await client.put('k', String(at));
  await member.start();
  const stream = await watch(await connectTo(member), { ...prefix, start_revision: 2n });
  await client.put('k', 'after');
  const events = await nextEvents(stream, 202);
  const values = ['before', ...Array.from({ length: 200 }, (_, at) => String(at)), 'after'];
  assert.deepEqual(
    events,
    values.map((value, at) => `k=${value}@${at + 2}`),
  );
});

test('keep-alives through any member renew, in order, and through a change of leaders', async () => {
  const cluster = await start();
  const [follower] = followersOf(cluster) as [ClusterMember];
  const connection = await connectTo(follower);
  for (const ID of [101n, 102n]) {
    const granted = await connection.unary(
      '/etcdserverpb.Lease/LeaseGrant',
      encodeMessage('LeaseGrantRequest', { TTL: 30n, ID }),
    );
    assert.equal(granted.grpcStatus, 0);
  }
  const stream = connection.stream(keepAlivePath);
  const answers = async (ids: readonly bigint[]): Promise<string[]> => {
    for (const ID of ids) stream.send(encodeMessage('LeaseKeepAliveRequest', { ID }));
    const heard: string[] = [];
    while (heard.length < ids.length) {
      const { value } = await stream.next();
      const { ID, TTL } = decodeMessage('LeaseKeepAliveResponse', value as Buffer);
      heard.push(`${ID}: ${TTL}`);
    }
    return heard;
  };
  assert.deepEqual(await answers([101n, 7n, 102n, 101n]), ['101: 30', '7: 0', '102: 30', '101: 30']);
  const former = leaderOf(cluster);
  await former.kill();
  assert.deepEqual(await answers([102n, 7n]), ['102: 30', '7: 0'], 'the question waits for the next leader');
  stream.halfClose();
  assert.deepEqual(await stream.status, { grpcStatus: 0, grpcMessage: '' });
});

test('a request that cannot be decoded ends its stream only', async () => {
  const cluster = await start({ members: 1 });
  const connection = await connectTo(cluster.members[0] as ClusterMember);
  const good = await watch(connection, prefix);
  const bad = connection.stream(watchPath);
  bad.send(Buffer.from([0x0a, 0x05, 0x01]));
  const { grpcStatus, grpcMessage } = await bad.status;
  assert.equal(grpcStatus, 13);
  assert.match(grpcMessage, /^grpc: error unmarshalling request: /);
  await cluster.client().put('k', 'v');
  assert.deepEqual(await nextEvents(good, 1), ['k=v@2']);
});

test('to its clients a killed member is a broken connection, not a goodbye', async () => {
  const cluster = await start();
  const member = followersOf(cluster)[0] as ClusterMember;
  const client = new Client(new URL(member.endpoint).host, credentials.createInsecure());
  open.push(client);
  const same = (bytes: Buffer): Buffer => bytes;
  const stream = client.makeBidiStreamRequest(watchPath, same, same);
  stream.write(encodeMessage('WatchRequest', { create_request: prefix }));
  await once(stream, 'data');
  const broken = once(stream, 'error');
  await member.kill();
  const [{ code }] = (await broken) as [ServiceError];
  assert.equal(code, status.UNAVAILABLE);
});
