/**
 * Real etcd servers as peers of the tests and the benchmarks.
 *
 * Two releases are used. 3.4 is what the machine's package manager installs (Debian: etcd-server, etcd-client) and is
 * looked up on the PATH. 3.5 is fetched once by fetch-etcd-35.sh into node_modules/.cache and never installed. A peer
 * that is missing is a failure under CI and a loud skip elsewhere: that decision is made here (`requireEtcd`) and
 * nowhere else.
 *
 * A cluster started here is gone when `stop()` returned or when this process ends, whichever comes first: processes
 * are killed and data directories removed in an exit handler as well.
 */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { access, constants, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { packageRoot } from './package-root.js';

export type EtcdVersion = '3.4' | '3.5';

/** The two programs of one etcd release and the exact version they print, e.g. `3.4.23`. */
export interface EtcdBinaries {
  readonly release: EtcdVersion;
  readonly version: string;
  readonly server: string;
  readonly control: string;
}

export interface EtcdMember {
  readonly name: string;
  /** Client address, `host:port`. */
  readonly endpoint: string;
  readonly dataDirectory: string;
  readonly pid: number;
}

export interface EtcdCluster {
  readonly binaries: EtcdBinaries;
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  /** Ends every process and removes the data directories. */
  stop(): Promise<void>;
}

export interface StartEtcdOptions {
  readonly members: 1 | 3;
  readonly version: EtcdVersion;
  /** Parent of the data directories; a fresh one below the system's temporary directory when absent. */
  readonly parentDirectory?: string;
  /** Further server flags, the same for every member. */
  readonly flags?: readonly string[];
}

const run = promisify(execFile);
const startAttemptsMax = 5;
const startTimeoutMs = 30_000;
/** Printed by both releases once the member has joined a cluster that has a leader and listens for clients. */
const readyPattern = /serving client traffic insecurely/;

const found = new Map<EtcdVersion, Promise<EtcdBinaries | undefined>>();

/** The programs of a release, fetched when the release is 3.5 and not there yet; undefined when they cannot be had. */
export function findEtcd(release: EtcdVersion): Promise<EtcdBinaries | undefined> {
  let binaries = found.get(release);
  if (binaries === undefined) {
    binaries = release === '3.4' ? findInstalled() : fetchRelease35();
    found.set(release, binaries);
  }
  return binaries;
}

/**
 * The programs of a release for a test: under CI (`process.env.CI`) a missing peer throws; elsewhere the test is marked
 * as skipped, the reason is printed where nobody overlooks it, and undefined is returned.
 */
export async function requireEtcd(test: TestContext, release: EtcdVersion): Promise<EtcdBinaries | undefined> {
  const binaries = await findEtcd(release);
  if (binaries === undefined) missingPeer(test, `etcd ${release}`);
  return binaries;
}

/** Reports a peer program that is not there: failure under CI, loud skip elsewhere. */
export function missingPeer(test: TestContext, program: string): void {
  const text = `${program} is not available on this machine`;
  if (process.env['CI']) throw new Error(`${text}, and under CI every peer must be`);
  process.stderr.write(`\n*** SKIPPED, NOT TESTED: "${test.name}": ${text} ***\n\n`);
  test.skip(text);
}

/** Starts a cluster and resolves when every member serves clients. Throws when the release is not available. */
export async function startEtcd(options: StartEtcdOptions): Promise<EtcdCluster> {
  const binaries = await findEtcd(options.version);
  if (binaries === undefined) throw new Error(`etcd ${options.version} is not available on this machine`);
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(binaries, options);
    } catch (error) {
      // Free ports are found by binding and releasing them: somebody else may have taken one in between.
      if (attempt === startAttemptsMax || !String(error).includes('address already in use')) throw error;
    }
  }
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(
    servers.map(server => {
      server.listen(0, '127.0.0.1');
      return once(server, 'listening');
    }),
  );
  const ports = servers.map(server => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has no port');
    return address.port;
  });
  await Promise.all(
    servers.map(server => {
      server.close();
      return once(server, 'close');
    }),
  );
  return ports;
}

type ServerProcess = ChildProcessByStdio<null, null, Readable>;

const living = new Set<ServerProcess>();
const directories = new Set<string>();

process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

async function startOnce(binaries: EtcdBinaries, options: StartEtcdOptions): Promise<EtcdCluster> {
  const parent = await mkdtemp(join(options.parentDirectory ?? tmpdir(), 'kvorum-etcd-'));
  directories.add(parent);
  const ports = await freePorts(options.members * 2);
  const plans = Array.from({ length: options.members }, (_, i) => ({
    name: `n${i + 1}`,
    endpoint: `127.0.0.1:${ports[i * 2]}`,
    peerUrl: `http://127.0.0.1:${ports[i * 2 + 1]}`,
    dataDirectory: join(parent, `n${i + 1}`),
  }));
  const initialCluster = plans.map(plan => `${plan.name}=${plan.peerUrl}`).join(',');
  const children = plans.map(plan => {
    const child = spawn(binaries.server, serverFlags(plan, initialCluster, options.flags ?? []), {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environmentWithout('ETCD'),
    });
    living.add(child);
    child.once('exit', () => living.delete(child));
    return child;
  });
  const stop = async () => {
    await Promise.all(children.map(endProcess));
    await rm(parent, { recursive: true, force: true });
    directories.delete(parent);
  };
  try {
    await Promise.all(children.map((child, i) => untilReady(child, plans[i]!.name)));
  } catch (error) {
    await stop();
    throw error;
  }
  const members = plans.map(({ name, endpoint, dataDirectory }, i) => ({
    name,
    endpoint,
    dataDirectory,
    pid: children[i]!.pid ?? 0,
  }));
  return { binaries, members, endpoints: members.map(member => member.endpoint), stop };
}

function serverFlags(
  plan: { name: string; endpoint: string; peerUrl: string; dataDirectory: string },
  initialCluster: string,
  further: readonly string[],
): string[] {
  return [
    ...['--name', plan.name, '--data-dir', plan.dataDirectory, '--logger', 'zap'],
    ...['--listen-client-urls', `http://${plan.endpoint}`, '--advertise-client-urls', `http://${plan.endpoint}`],
    ...['--listen-peer-urls', plan.peerUrl, '--initial-advertise-peer-urls', plan.peerUrl],
    ...['--initial-cluster', initialCluster, '--initial-cluster-token', initialCluster],
    ...further,
  ];
}

/** Resolves at the ready line; rejects with the last log lines when the process ends before it. Keeps on draining. */
async function untilReady(child: ServerProcess, name: string): Promise<void> {
  const tail: string[] = [];
  const lines = createInterface({ input: child.stderr });
  await new Promise<void>((resolve, reject) => {
    const giveUp = (reason: string) => reject(new Error(`etcd member ${name}: ${reason}\n${tail.join('\n')}`));
    const timer = setTimeout(() => giveUp(`not ready after ${startTimeoutMs} ms`), startTimeoutMs);
    lines.on('line', line => {
      tail.push(line);
      if (tail.length > 20) tail.shift();
      if (readyPattern.test(line)) {
        clearTimeout(timer);
        resolve();
      }
    });
    child.once('error', error => giveUp(error.message));
    child.once('close', code => {
      clearTimeout(timer);
      giveUp(`ended with code ${code}`);
    });
  });
}

async function endProcess(child: ServerProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  // The data is thrown away: there is nothing a graceful end would save, and it can take seconds.
  child.kill('SIGKILL');
  await closed;
}

/** This process's environment without the variables of etcd's own programs, which would change their behaviour. */
export function environmentWithout(prefix: 'ETCD' | 'ETCDCTL'): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith(prefix)));
}

async function findInstalled(): Promise<EtcdBinaries | undefined> {
  const server = await onPath('etcd');
  const control = await onPath('etcdctl');
  if (server === undefined || control === undefined) return undefined;
  return describeBinaries('3.4', server, control);
}

async function fetchRelease35(): Promise<EtcdBinaries | undefined> {
  const target = join(packageRoot, 'node_modules', '.cache', 'etcd-3.5');
  const server = join(target, 'usr', 'bin', 'etcd');
  const control = join(target, 'usr', 'bin', 'etcdctl');
  if (!existsSync(server)) {
    try {
      await run(join(packageRoot, 'test', 'support', 'fetch-etcd-35.sh'), [target], { timeout: 180_000 });
    } catch (error) {
      process.stderr.write(`etcd 3.5 could not be fetched: ${error instanceof Error ? error.message : error}\n`);
      return undefined;
    }
  }
  return describeBinaries('3.5', server, control);
}

/** Reads the version from the program itself: a PATH that holds another release must not pass for the wanted one. */
async function describeBinaries(release: EtcdVersion, server: string, control: string) {
  const { stdout } = await run(server, ['--version'], { env: environmentWithout('ETCD') });
  const version = /etcd Version: (\S+)/.exec(stdout)?.[1];
  return version?.startsWith(`${release}.`) ? { release, version, server, control } : undefined;
}

async function onPath(program: string): Promise<string | undefined> {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const candidate = join(directory, program);
    try {
      await access(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}
