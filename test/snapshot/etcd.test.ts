/**
 * Snapshot files of a real etcd read here, and files written here restored and served by a real etcd.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Database } from '../../src/snapshot/bbolt/database.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../../src/snapshot/file.js';
import { formatStatus, snapshotStatus, statusFormats } from '../../src/snapshot/status.js';
import { type EtcdBinaries, type EtcdVersion, freePorts, requireEtcd, startEtcd } from '../support/etcd.js';
import { environmentWithout, ownDirectory, startServer } from '../support/server-process.js';

const run = promisify(execFile);
const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

async function control(binaries: EtcdBinaries, args: readonly string[], input?: string): Promise<string> {
  const env = { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' };
  const child = run(binaries.control, args, { env, maxBuffer: 1 << 26 });
  child.child.stdin?.end(input ?? '');
  return (await child).stdout;
}

/** History of all kinds: versions, deletions, a compaction, transactions, leases, users, roles, long values. */
async function fill(binaries: EtcdBinaries, endpoint: string): Promise<void> {
  const etcdctl = (args: readonly string[], input?: string) =>
    control(binaries, ['--endpoints', endpoint, ...args], input);
  for (let part = 0; part < 12; part += 1) {
    const puts = Array.from(
      { length: 100 },
      (_, at) => `put k${(part * 37 + at) % 400} "value ${part} ${'x'.repeat(at)}"`,
    );
    await etcdctl(['txn'], `\n${puts.join('\n')}\n\n\n`);
  }
  await etcdctl(['del', 'k1', 'k2']);
  await etcdctl(['compaction', '6']);
  await etcdctl(['del', '--prefix', 'k39']);
  await etcdctl(['put', 'long', 'l'.repeat(100_000)]);
  await etcdctl(['put', 'empty', '']);
  const granted = await etcdctl(['lease', 'grant', '10000']);
  await etcdctl(['put', '--lease', /lease (\w+)/.exec(granted)?.[1] as string, 'leased', 'value']);
  await etcdctl(['user', 'add', 'someone:password']);
  await etcdctl(['role', 'add', 'reader']);
  await etcdctl(['role', 'grant-permission', 'reader', 'read', 'k', 'l']);
  await etcdctl(['user', 'grant-role', 'someone', 'reader']);
}

interface Stage {
  readonly binaries: EtcdBinaries;
  readonly directory: string;
  /** The snapshot of a filled server, and what that server says of its data. */
  readonly snapshot: string;
  readonly hashKv: string;
  readonly values: string;
}

async function stage(t: TestContext, release: EtcdVersion): Promise<Stage | undefined> {
  const binaries = await requireEtcd(t, release);
  if (binaries === undefined) return undefined;
  const directory = await ownDirectory('kvorum-snapshot-');
  t.after(directory.remove);
  const cluster = await startEtcd({ members: 1, version: release, parentDirectory: directory.path });
  try {
    const endpoint = cluster.endpoints[0] as string;
    await fill(binaries, endpoint);
    const snapshot = join(directory.path, 'snapshot.db');
    await control(binaries, ['--endpoints', endpoint, 'snapshot', 'save', snapshot]);
    return { binaries, directory: directory.path, snapshot, ...(await contentOf(binaries, endpoint)) };
  } finally {
    await cluster.stop();
  }
}

async function contentOf(binaries: EtcdBinaries, endpoint: string): Promise<{ hashKv: string; values: string }> {
  const ask = (...args: string[]) => control(binaries, ['--endpoints', endpoint, ...args]);
  const hash = JSON.parse((await ask('endpoint', 'hashkv', '-w', 'json')).replace(/:(\d{16,})/g, ':"$1"'));
  const { HashKV } = hash[0];
  const values = [
    await ask('get', '--prefix', '', '-w', 'fields'),
    await ask('lease', 'list'),
    await ask('user', 'get', 'someone'),
    await ask('role', 'get', 'reader'),
  ];
  const hashKv = JSON.stringify([HashKV.hash, HashKV.compact_revision, HashKV.header.revision]);
  // Ids of the cluster and its raft term are those of a new cluster after a restore.
  return { hashKv, values: values.join('\n').replace(/^"(ClusterID|MemberID|RaftTerm)" : .*$/gm, '') };
}

/** Restores a file with etcd's own program, serves it and tells what the server says. */
async function served(t: TestContext, { binaries, directory }: Stage, file: string) {
  const data = join(directory, `restored-${Math.trunc(performance.now())}`);
  const [clientPort, peerPort] = await freePorts(2);
  const peer = `http://127.0.0.1:${peerPort}`;
  const client = `http://127.0.0.1:${clientPort}`;
  const names = ['--name', 'm1', '--initial-cluster', `m1=${peer}`, '--initial-advertise-peer-urls', peer];
  await control(binaries, ['snapshot', 'restore', file, '--data-dir', data, ...names]);
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
  const flags = ['--data-dir', data, '--logger', 'zap', ...names, ...urls];
  const { server } = await startServer('etcd restored', binaries.server, flags, line =>
    line.includes('serving client traffic insecurely') ? true : undefined,
  );
  t.after(server.end);
  const endpoint = `127.0.0.1:${clientPort}`;
  const content = await contentOf(binaries, endpoint);
  await control(binaries, ['--endpoints', endpoint, 'put', 'after', 'the restore']);
  await control(binaries, ['--endpoints', endpoint, 'defrag']);
  return { ...content, database: join(data, 'member', 'snap', 'db'), end: server.end };
}

for (const release of ['3.4', '3.5'] as const) {
  test(`status of a snapshot of etcd ${release} is what its etcdctl says, in every format`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const { binaries, snapshot } = made;
    const file = SnapshotFile.open(snapshot);
    t.after(() => file.close());
    assert.deepEqual(checkSnapshot(file).problems, []);
    assert.equal(file.verifyDigest(), true);
    const status = snapshotStatus(file);
    for (const format of statusFormats) {
      const flags = ['snapshot', 'status', snapshot, '-w', format];
      const theirs = await control(binaries, flags);
      assert.equal(formatStatus(status, format), theirs, format);
      const ours = await run(process.execPath, [command, ...flags]);
      assert.equal(ours.stdout, theirs);
    }
  });

  test(`a file written here is restored by etcd ${release} and served with the same HashKV`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const original = SnapshotFile.open(made.snapshot);
    t.after(() => original.close());
    const copy = join(made.directory, 'written.db');
    const length = writeSnapshotFile(copy, writer => {
      for (const bucket of Database.open(original).buckets()) {
        writer.bucket(bucket.name);
        for (const [key, value] of bucket.entries()) writer.put(key, value);
      }
    });
    assert.equal(readFileSync(copy).length, length);
    const written = SnapshotFile.open(copy);
    t.after(() => written.close());
    assert.deepEqual(checkSnapshot(written).problems, []);
    const { hash, revision, totalKeys } = snapshotStatus(written);
    const theirs = snapshotStatus(original);
    assert.deepEqual({ hash, revision, totalKeys }, pick(theirs));
    assert.equal(
      await control(made.binaries, ['snapshot', 'status', copy, '-w', 'json']),
      formatStatus(snapshotStatus(written), 'json'),
    );
    const server = await served(t, made, copy);
    assert.equal(server.hashKv, made.hashKv);
    assert.equal(server.values, made.values);
    await server.end();
    // What the server made of our file since: pages freed and split by the real library.
    const database = SnapshotFile.open(server.database);
    t.after(() => database.close());
    assert.equal(database.hasDigest, false);
    assert.deepEqual(checkSnapshot(database).problems, []);
  });
}

function pick({ hash, revision, totalKeys }: ReturnType<typeof snapshotStatus>) {
  return { hash, revision, totalKeys };
}
