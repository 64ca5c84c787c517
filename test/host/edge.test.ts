/**
 * The edge's options: what they become, which are refused, and the word about members that are open to others.
 */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { clusterOptions, readFlags } from '../../src/cli/flags.js';
import { Cluster } from '../../src/host/cluster.js';
import { StartError } from '../../src/host/data-directory.js';
import { connectionsOf, edgeLimits, isLoopback } from '../../src/host/edge.js';
import { Attacker } from './abuse/attacker.js';
import { FrameType, settingsOf } from './http2/peer.js';

const { connectionsMax, ...defaults } = edgeLimits({}, 3, 3);

test('defaults are etcd’s', () => {
  assert.deepEqual(defaults, {
    concurrentStreamsMax: 4_294_967_295,
    pingIntervalMsMin: 5_000,
    keepaliveIntervalMs: 7_200_000,
    keepaliveTimeoutMs: 20_000,
  });
  assert.ok((connectionsMax ?? 0) > 0);
});

test('flags become limits; 0 is what it is to etcd', () => {
  const limitsOf = (...args: string[]) => {
    const { connectionsMax: _, ...limits } = edgeLimits(clusterOptions(readFlags(args, {}), []), 1, 1);
    return limits;
  };
  assert.deepEqual(
    limitsOf(
      '--max-concurrent-streams=10',
      '--grpc-keepalive-min-time=1s',
      '--grpc-keepalive-interval=1m',
      '--grpc-keepalive-timeout=500ms',
    ),
    { concurrentStreamsMax: 10, pingIntervalMsMin: 1_000, keepaliveIntervalMs: 60_000, keepaliveTimeoutMs: 500 },
  );
  assert.deepEqual(
    limitsOf(
      '--max-concurrent-streams=0',
      '--grpc-keepalive-min-time=0',
      '--grpc-keepalive-interval=0',
      '--grpc-keepalive-timeout=0',
    ),
    { ...defaults, pingIntervalMsMin: 300_000, keepaliveIntervalMs: 0 },
  );
});

test('refusals name the flag', () => {
  const refused = (options: Parameters<typeof edgeLimits>[0], message: RegExp) =>
    assert.throws(
      () => edgeLimits(options, 1, 1),
      error => error instanceof StartError && message.test(error.message),
    );
  refused({ maxConcurrentStreams: -1 }, /--max-concurrent-streams must be a whole number from 0 to 4294967295, not -1/);
  refused({ maxConcurrentStreams: 2 ** 32 }, /--max-concurrent-streams/);
  refused({ grpcKeepaliveMinTimeMs: -1 }, /--grpc-keepalive-min-time is a duration/);
  refused({ grpcKeepaliveTimeoutMs: Number.NaN }, /--grpc-keepalive-timeout/);
});

test('connections leave files for the stores', () => {
  assert.equal(connectionsOf(1_024, 1, 1), 874);
  assert.equal(connectionsOf(1_024, 3, 3), 291);
  assert.equal(connectionsOf(1_024, 7, 14), 53);
  assert.equal(connectionsOf(153, 3, 3), 1);
  assert.equal(connectionsOf(Number.POSITIVE_INFINITY, 3, 3), Number.POSITIVE_INFINITY);
  assert.throws(
    () => connectionsOf(152, 3, 3),
    /^StartError: file descriptor limit of this process is too low; please set higher: it is 152 \(ulimit -n\), and/,
  );
});

test('loopback', () => {
  for (const address of ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1']) assert.ok(isLoopback(address), address);
  for (const address of ['0.0.0.0', '::', '10.0.0.1', '::ffff:10.0.0.1']) assert.ok(!isLoopback(address), address);
});

test('members that other machines reach are spoken of; the limit of streams is announced', async () => {
  const other = Object.values(networkInterfaces())
    .flat()
    .find(one => one !== undefined && one.family === 'IPv4' && !one.internal);
  const urls = ['http://127.0.0.1:0', 'http://localhost:0', `http://${other?.address ?? '0.0.0.0'}:0`];
  await using cluster = await Cluster.start({ listenClientUrls: urls, maxConcurrentStreams: 7, logLevel: 'silent' });
  assert.match(cluster.exposure ?? '', /^serving client traffic insecurely; this is strongly discouraged! /);
  for (const [at, { endpoint }] of cluster.members.entries()) {
    assert.equal(cluster.exposure?.includes(endpoint), at === 2, endpoint);
  }
  const client = await Attacker.http2(cluster.endpoints[0]?.replace('http://', '') ?? '');
  const settings = client.frames.find(({ type }) => type === FrameType.Settings);
  assert.equal(settingsOf(settings?.payload ?? new Uint8Array(0)).get(3), 7);
  client.destroy();
});
