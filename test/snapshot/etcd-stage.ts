/**
 * A real etcd for the tests of snapshot files: filled with history of all kinds, saved, and later restored from a file.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { type EtcdBinaries, type EtcdVersion, freePorts, requireEtcd, startEtcd } from '../support/etcd.js';
import { environmentWithout, ownDirectory, startServer } from '../support/server-process.js';

const run = promisify(execFile);

/** Runs etcdctl; resolves with what it printed. */
export async function control(binaries: EtcdBinaries, args: readonly string[], input?: string): Promise<string> {
  const env = { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' };
  const child = run(binaries.control, args, { env, maxBuffer: 1 << 26 });
  // A command that reads nothing may be gone before its input is closed.
  child.child.stdin?.on('error', () => {});
  child.child.stdin?.end(input);
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

export interface Stage {
  readonly binaries: EtcdBinaries;
  readonly directory: string;
  /** The snapshot of a filled server, and what that server says of its data. */
  readonly snapshot: string;
  /** Hash, compact revision, revision. */
  readonly hashKv: string;
  readonly values: string;
}

/** Fills a server of this release and saves its snapshot; undefined (the test is skipped) when there is none. */
export async function stage(t: TestContext, release: EtcdVersion): Promise<Stage | undefined> {
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
export async function served(t: TestContext, stage: Stage, file: string) {
  const { endpoint, database, end } = await restored(t, stage, file);
  const content = await contentOf(stage.binaries, endpoint);
  await control(stage.binaries, ['--endpoints', endpoint, 'put', 'after', 'the restore']);
  await control(stage.binaries, ['--endpoints', endpoint, 'defrag']);
  return { ...content, database, end };
}

/** Restores a file with etcd's own program and serves it. */
export async function restored(
  t: TestContext,
  { binaries, directory }: Pick<Stage, 'binaries' | 'directory'>,
  file: string,
) {
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
  return { endpoint: `127.0.0.1:${clientPort}`, database: join(data, 'member', 'snap', 'db'), end: server.end };
}
