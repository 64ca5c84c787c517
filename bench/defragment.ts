/**
 * What a defragmentation gives back and what it costs: sizes before and after, its time, and the longest put through
 * the member that defragments, beside a real etcd.
 *
 *   node dist/bench/defragment.js [--keys 50000] [--versions 4] [--value 256] [--sides kvorum,etcd-3.5]
 *
 * Every key is written so many times, everything but the last compacted away; then each member defragments, one after
 * the other, while one client puts through it, one put at a time.
 */
import { parseArgs } from 'node:util';
import { decode, encode } from '../src/wire/schema.js';
import type { Family } from '../test/support/differential.js';
import { GrpcClient } from '../test/support/grpc-client.js';
import { ownDirectory } from '../test/support/server-process.js';
import { startSubject } from '../test/support/subject.js';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '50000' },
    versions: { type: 'string', default: '4' },
    value: { type: 'string', default: '256' },
    sides: { type: 'string', default: 'kvorum,etcd-3.5' },
  },
});
const keys = Number(values.keys);
const versions = Number(values.versions);
const valueBytes = Number(values.value);
const outstanding = 200;

for (const side of values.sides.split(',')) await measure(side as Family);

async function measure(side: Family): Promise<void> {
  const directory = await ownDirectory('kvorum-bench-');
  const subject = await startSubject(side, { members: 3, parentDirectory: directory.path });
  const clients = await Promise.all(subject.endpoints.map(endpoint => GrpcClient.connect(endpoint)));
  await fill(clients);
  const [first] = clients as [GrpcClient];
  const { header } = await put(first, 'last');
  await unary(
    first,
    'KV/Compact',
    encode('etcdserverpb.CompactionRequest', { revision: header?.revision, physical: true }),
  );
  for (const [member, client] of clients.entries()) {
    await settled(client);
    const before = await status(client);
    let going = true;
    const latencies: number[] = [];
    const load = (async () => {
      while (going) {
        const startMs = performance.now();
        await put(client, 'load');
        latencies.push(performance.now() - startMs);
      }
    })();
    const startMs = performance.now();
    await unary(client, 'Maintenance/Defragment', new Uint8Array(0));
    const tookMs = performance.now() - startMs;
    going = false;
    await load;
    const after = await status(client);
    const longestMs = Math.max(...latencies);
    process.stdout.write(
      `${subject.name} member ${member + 1}: ${mebibytes(before.dbSize)} -> ${mebibytes(after.dbSize)} MiB ` +
        `(in use ${mebibytes(before.dbSizeInUse)} -> ${mebibytes(after.dbSizeInUse)}) in ${tookMs.toFixed(0)} ms, ` +
        `${latencies.length} puts meanwhile, the longest took ${longestMs.toFixed(0)} ms\n`,
    );
  }
  for (const client of clients) client.close();
  await subject.stop();
  await directory.remove();
}

async function fill(clients: readonly GrpcClient[]): Promise<void> {
  let next = 0;
  const writer = async (slot: number): Promise<void> => {
    const client = clients[slot % clients.length] as GrpcClient;
    for (let at = next++; at < keys * versions; at = next++)
      await put(client, `key/${String(at % keys).padStart(9, '0')}`);
  };
  await Promise.all(Array.from({ length: outstanding }, (_, slot) => writer(slot)));
}

async function put(client: GrpcClient, key: string) {
  const request = encode('etcdserverpb.PutRequest', { key: Buffer.from(key), value: Buffer.alloc(valueBytes, 'v') });
  return decode('etcdserverpb.PutResponse', await unary(client, 'KV/Put', request));
}

async function status(client: GrpcClient) {
  return decode('etcdserverpb.StatusResponse', await unary(client, 'Maintenance/Status', new Uint8Array(0)));
}

/** A compaction is over where it was asked for, and elsewhere soon after: then the used size stands still. */
async function settled(client: GrpcClient): Promise<void> {
  for (let last = -1n; ; ) {
    const { dbSizeInUse } = await status(client);
    if (dbSizeInUse === last) return;
    last = dbSizeInUse;
    await new Promise(resolve => setTimeout(resolve, 2_000));
  }
}

async function unary(client: GrpcClient, method: string, request: Uint8Array): Promise<Uint8Array> {
  const { grpcStatus, grpcMessage, messages } = await client.unary(`/etcdserverpb.${method}`, request);
  const [message] = messages;
  if (grpcStatus !== 0 || message === undefined) throw new Error(`${method}: ${grpcStatus} ${grpcMessage}`);
  return message;
}

function mebibytes(bytes: bigint): string {
  return (Number(bytes) / 2 ** 20).toFixed(1);
}
