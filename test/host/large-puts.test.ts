/**
 * Large puts side by side on one connection: they wait for windows, and for one another, instead of being refused.
 *
 * They go to a follower: what it forwards waits for room in the leader's ring.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startCluster } from '../../src/index.js';
import { frameMessage, GrpcClient } from '../support/grpc-client.js';
import { encodeMessage } from '../support/messages.js';

const mib = 1024 * 1024;
const puts = 200;
/** Less than they are together; what the client holds, which is in this process too, included. */
const grownBytesMax = 150 * mib;
const sampleMs = 10;

it('hundreds of puts of a megabyte on one connection succeed, and the process holds few of them at a time', async t => {
  const cluster = await startCluster({
    listenClientUrls: ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'http://127.0.0.1:0'],
    ephemeral: true,
    logLevel: 'error',
  });
  t.after(() => cluster.close());
  const metrics = await Promise.all(cluster.endpoints.map(async url => (await fetch(`${url}/metrics`)).text()));
  const follower = cluster.endpoints[metrics.findIndex(text => text.includes('etcd_server_is_leader 0'))] as string;
  const client = await GrpcClient.connect(follower);
  t.after(() => client.close());
  const put = encodeMessage('PutRequest', { key: Buffer.from('large'), value: Buffer.alloc(1_000_000, 'x') });
  const body = frameMessage(put);
  const beforeBytes = heldBytes();
  let peakBytes = 0;
  const sampling = setInterval(() => {
    peakBytes = Math.max(peakBytes, heldBytes());
  }, sampleMs);
  const results = await Promise.all(Array.from({ length: puts }, () => client.raw('/etcdserverpb.KV/Put', body)));
  clearInterval(sampling);
  const refusals = results.filter(({ grpcStatus }) => grpcStatus !== 0).map(({ grpcMessage }) => grpcMessage);
  assert.deepEqual(refusals, []);
  const grown = Math.round((peakBytes - beforeBytes) / mib);
  assert.ok(grown <= grownBytesMax / mib, `it grew by ${grown} MiB`);
});

/** Heap and buffers of this thread. */
function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
