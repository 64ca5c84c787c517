/**
 * Data of any size goes around: kvorum -> file -> real etcd -> file -> kvorum, and is the same at every stop.
 *
 *     kvorum (filled) --etcdctl snapshot save--> etcdctl snapshot restore --> etcd
 *     etcd --etcdctl snapshot save--> kvorum snapshot restore --> kvorum
 *
 * The same means: every key with its value, lease and revisions; the leases; an old revision that is still there; one
 * that is compacted; and HashKV at the same revision. (What etcdctl waits for that by itself is five seconds: the time
 * is told.) Of every process the greatest memory of its own is taken: RssAnon, for pages of mapped files are the
 * system's to drop.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LeaseGrant } from '../../src/client/lease.js';
import { connect, type EtcdClient } from '../../src/index.js';
import { type EtcdBinaries, freePorts } from '../support/etcd.js';
import { environmentWithout, startServer } from '../support/server-process.js';

export interface RoundTrip {
  readonly binaries: EtcdBinaries;
  readonly directory: string;
  readonly keys: number;
  readonly valueBytes: number;
  /** Hears what happens, one line each. */
  readonly say: (line: string) => void;
}

interface Served {
  readonly endpoint: string;
  readonly client: EtcdClient;
  end(): Promise<void>;
}

const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const outstanding = 8;
const batchKeys = 100;
const pageKeys = 1_000;
const sampleMs = 50;
const leaseEvery = 100;
const quota = ['--quota-backend-bytes', String(16 * 2 ** 30)];

/** The whole way. Rejects at the first difference. */
export async function goAround(trip: RoundTrip): Promise<void> {
  const { say } = trip;
  const first = await startKvorum(trip, 'kvorum', join(trip.directory, 'data-1'), 1);
  await timed(say, 'fill', () => fill(first.client, trip));
  const origin = await contentOf(first, trip);
  say(`content: ${JSON.stringify(origin)}`);
  const fromKvorum = join(trip.directory, 'from-kvorum.db');
  await run(trip, 'etcdctl save from kvorum', trip.binaries.control, [
    ...['--endpoints', first.endpoint, 'snapshot', 'save', fromKvorum],
  ]);
  await first.end();
  say(`file: ${megabytes(statSync(fromKvorum).size)}`);

  const second = await restoreEtcd(trip, fromKvorum);
  assert.deepEqual(await contentOf(second, trip), origin, 'etcd serves what kvorum did');
  const late = await second.client.put('late', 'written to etcd');
  const grown = await contentOf(second, trip);
  assert.equal(grown.revision, late.revision);
  const fromEtcd = join(trip.directory, 'from-etcd.db');
  await run(trip, 'etcdctl save from etcd', trip.binaries.control, [
    ...['--endpoints', second.endpoint, 'snapshot', 'save', fromEtcd],
  ]);
  await second.end();

  const data = join(trip.directory, 'data-2');
  const progress = await run(trip, 'kvorum restore', process.execPath, [
    ...[command, 'snapshot', 'restore', fromEtcd, '--data-dir', data, '--members', '1'],
  ]);
  const told = progress.filter(line => line.includes(' % of '));
  say(`progress of the restore: ${told.length} lines, the last: ${told.at(-1) ?? 'none'}`);
  const third = await startKvorum(trip, 'kvorum restored', data, 1);
  assert.deepEqual(await contentOf(third, trip), grown, 'kvorum serves what etcd did');
  await third.client.put('later', 'written to kvorum');
  await third.end();
}

/** Keys in order and again, most of them a hundred at a time; deletions, leases, a compaction. */
async function fill(client: EtcdClient, { keys, valueBytes }: RoundTrip): Promise<void> {
  const leases = await Promise.all(Array.from({ length: 10 }, () => client.leaseGrant({ ttlSeconds: 100_000 })));
  let next = 0;
  const writer = async (): Promise<void> => {
    for (let from = next; from < keys; from = next) {
      next += batchKeys;
      const length = Math.min(batchKeys, keys - from);
      await client.txn({ success: Array.from({ length }, (_, more) => putOf(from + more, valueBytes, leases)) });
    }
  };
  await Promise.all(Array.from({ length: outstanding }, writer));
  for (let at = 0; at < keys; at += Math.ceil(keys / 50)) await client.put(nameOf(at), `again ${at}`);
  const { revision } = await client.delete({ prefix: nameOf(1).slice(0, -1) });
  await client.put('after', 'the deletion');
  await client.compact(revision - 20, { physical: true });
}

/** Every hundredth key hangs on one of the leases. */
function putOf(at: number, bytes: number, leases: readonly LeaseGrant[]) {
  const value = `${at} `.padEnd(bytes, String.fromCharCode(97 + (at % 26)));
  const put = { put: nameOf(at), value };
  return at % leaseEvery === 0 ? { ...put, lease: leases[(at / leaseEvery) % leases.length]! } : put;
}

function nameOf(at: number): string {
  return `/registry/things/${String(at).padStart(9, '0')}`;
}

/** What a server holds, told so that it can be compared. */
async function contentOf(served: Served, trip: RoundTrip) {
  const { client, endpoint } = served;
  const [newest, older] = await timed(trip.say, 'read all, twice', async () => {
    const { revision } = await client.getAll('nothing');
    return [await digestAt(client, revision), await digestAt(client, revision - 10)] as const;
  });
  await assert.rejects(client.getAll('after', { revision: newest.revision - 40 }), /compacted/);
  const leases = (await client.leases()).map(String).sort();
  const attached = await client.leaseTimeToLive(BigInt(leases[0]!), { keys: true });
  const hash = await timed(trip.say, 'etcdctl endpoint hashkv', async () => {
    const lines = await run(trip, 'etcdctl hashkv', trip.binaries.control, [
      ...['--endpoints', endpoint, '--command-timeout', '60s', 'endpoint', 'hashkv', '-w', 'json'],
    ]);
    const [{ HashKV }] = JSON.parse(lines.join('').replace(/:(\d{16,})/g, ':"$1"'));
    return [HashKV.hash, HashKV.compact_revision, HashKV.header.revision];
  });
  return { revision: newest.revision, newest, older, leases, attached: attached?.keys?.length, hash };
}

/** A digest of every key as of a revision, with all that etcd says of it. */
async function digestAt(client: EtcdClient, revision: number) {
  const hash = createHash('sha256');
  let keys = 0;
  for (let from = ''; ; ) {
    const { kvs, more } = await client.getAll({ from }, { revision, limit: pageKeys });
    for (const { keyBytes, valueBytes, createRevision, modRevision, version, lease } of kvs) {
      hash.update(keyBytes).update(valueBytes).update(`${createRevision} ${modRevision} ${version} ${lease}`);
    }
    keys += kvs.length;
    if (!more) return { revision, keys, digest: hash.digest('hex') };
    from = `${kvs.at(-1)!.key}\0`;
  }
}

async function startKvorum(trip: RoundTrip, name: string, data: string, members: number): Promise<Served> {
  const urls = Array.from({ length: members }, () => 'http://127.0.0.1:0').join(',');
  const flags = [command, '--data-dir', data, '--listen-client-urls', urls, ...quota];
  const { server, ready } = await timed(trip.say, `${name} starts`, () =>
    startServer(name, process.execPath, flags, line => /"endpoint":"http:\/\/([^"]+)"/.exec(line)?.[1]),
  );
  return serving(trip, name, server, ready);
}

/** Restores a file with etcd's own program and serves it. */
async function restoreEtcd(trip: RoundTrip, file: string): Promise<Served> {
  const { binaries, directory } = trip;
  const data = join(directory, 'etcd');
  const [clientPort, peerPort] = await freePorts(2);
  const peer = `http://127.0.0.1:${peerPort}`;
  const client = `http://127.0.0.1:${clientPort}`;
  const names = ['--name', 'm1', '--initial-cluster', `m1=${peer}`, '--initial-advertise-peer-urls', peer];
  await run(trip, 'etcdctl restore', binaries.control, ['snapshot', 'restore', file, '--data-dir', data, ...names]);
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
  const flags = ['--data-dir', data, '--logger', 'zap', ...names, ...urls, ...quota];
  const name = `etcd ${binaries.version}`;
  const { server } = await timed(trip.say, `${name} starts`, () =>
    startServer(name, binaries.server, flags, line =>
      line.includes('serving client traffic insecurely') ? true : undefined,
    ),
  );
  return serving(trip, name, server, `127.0.0.1:${clientPort}`);
}

function serving(trip: RoundTrip, name: string, server: { pid: number; end(): Promise<void> }, endpoint: string) {
  const memory = watchMemory(server.pid);
  const client = connect({ endpoints: endpoint });
  const end = async (): Promise<void> => {
    client.close();
    trip.say(`${name}: greatest memory ${megabytes(memory())}`);
    await server.end();
  };
  return { endpoint, client, end };
}

/** Runs a command to its end; resolves with the lines it wrote. */
async function run(trip: RoundTrip, name: string, program: string, args: readonly string[]): Promise<string[]> {
  const env = { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' };
  const startedMs = performance.now();
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const memory = watchMemory(child.pid ?? 0);
  const lines: string[] = [];
  for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on('line', l => lines.push(l));
  const [code] = await once(child, 'close');
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  trip.say(`${name}: ${seconds} s, greatest memory ${megabytes(memory())}`);
  assert.equal(code, 0, `${name}: ${lines.join('\n')}`);
  return lines;
}

/** Samples a process's own memory; ends it and tells the greatest, in bytes (0 where the system does not say). */
function watchMemory(pid: number): () => number {
  let greatest = 0;
  const sample = (): void => {
    try {
      const [, kilobytes] = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
      greatest = Math.max(greatest, Number(kilobytes ?? 0) * 1024);
    } catch {
      // It has ended, or the system keeps no such files.
    }
  };
  const timer = setInterval(sample, sampleMs);
  sample();
  return () => {
    clearInterval(timer);
    return greatest;
  };
}

async function timed<T>(say: (line: string) => void, what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  say(`${what}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  return result;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
