/**
 * Real etcd servers as peers of the tests and the benchmarks.
 *
 * Two releases are used. 3.4 is what the machine's package manager installs (Debian: etcd-server, etcd-client) and is
 * looked up on the PATH. 3.5 is fetched once by fetch-etcd-35.sh into node_modules/.cache and never installed. A peer
 * that is missing is a failure under CI and a loud skip elsewhere: that decision is made here (`requireEtcd`) and
 * nowhere else.
 *
 * A cluster started here is gone when `stop()` returned or when this process ends, whichever comes first.
 */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { packageRoot } from './package-root.js';
import { environmentWithout, ownDirectory, startServer } from './server-process.js';

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
  /** Ends one member's process at once; its data stays. */
  kill(member: number): Promise<void>;
  /** Starts a killed member again, on its addresses and data; resolves when it serves clients. */
  restart(member: number): Promise<void>;
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
  /** Flags that set up TLS for clients; with them the client URLs are https. */
  readonly tls?: readonly string[] | undefined;
}

const run = promisify(execFile);
const startAttemptsMax = 5;

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
  if (process.env.CI) throw new Error(`${text}, and under CI every peer must be`);
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
  const servers = await Promise.all(Array.from({ length: count }, listenSomewhere));
  const ports = servers.map(server => (server.address() as AddressInfo).port);
  await Promise.all(
    servers.map(server => {
      server.close();
      return once(server, 'close');
    }),
  );
  return ports;
}

/** Below the range of connections' own ports: a server that is down for a while must find its port free. */
async function listenSomewhere(): Promise<Server> {
  for (;;) {
    const server = createServer();
    server.listen(randomInt(10_240, 32_768), '127.0.0.1');
    try {
      await once(server, 'listening');
      return server;
    } catch {
      // In use: somewhere else, then.
    }
  }
}

interface MemberPlan {
  readonly name: string;
  readonly endpoint: string;
  readonly peerUrl: string;
  readonly dataDirectory: string;
}

async function startOnce(binaries: EtcdBinaries, options: StartEtcdOptions): Promise<EtcdCluster> {
  const directory = await ownDirectory('kvorum-etcd-', options.parentDirectory);
  const ports = await freePorts(options.members * 2);
  const plans = Array.from({ length: options.members }, (_, i) => ({
    name: `m${i + 1}`,
    endpoint: `127.0.0.1:${ports[i * 2]}`,
    peerUrl: `http://127.0.0.1:${ports[i * 2 + 1]}`,
    dataDirectory: join(directory.path, `m${i + 1}`),
  }));
  const initialCluster = plans.map(plan => `${plan.name}=${plan.peerUrl}`).join(',');
  const start = (plan: MemberPlan) => {
    const flags = serverFlags(plan, initialCluster, options);
    return startServer(`etcd ${binaries.version} ${plan.name}`, binaries.server, flags, isReady);
  };
  const outcomes = await Promise.allSettled(plans.map(start));
  const servers = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value.server] : []));
  const stop = async () => {
    await Promise.all(servers.map(server => server.end()));
    await directory.remove();
  };
  const failed = outcomes.find(outcome => outcome.status === 'rejected');
  if (failed !== undefined) {
    await stop();
    throw failed.reason;
  }
  const members = plans.map(({ name, endpoint, dataDirectory }, i) => ({
    ...{ name, endpoint, dataDirectory },
    pid: servers[i]?.pid ?? 0,
  }));
  return {
    ...{ binaries, members, endpoints: members.map(member => member.endpoint) },
    kill: async member => servers[member]!.end(),
    restart: async member => {
      servers[member] = (await start(plans[member]!)).server;
    },
    stop,
  };
}

/** Both releases print this once the member has joined a cluster that has a leader and listens for clients. */
function isReady(line: string): true | undefined {
  return /serving client traffic (in)?securely/.test(line) || undefined;
}

function serverFlags(plan: MemberPlan, initialCluster: string, { flags = [], tls }: StartEtcdOptions): string[] {
  const url = `${tls === undefined ? 'http' : 'https'}://${plan.endpoint}`;
  return [
    ...['--name', plan.name, '--data-dir', plan.dataDirectory, '--logger', 'zap'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', plan.peerUrl, '--initial-advertise-peer-urls', plan.peerUrl],
    ...['--initial-cluster', initialCluster, '--initial-cluster-token', initialCluster],
    ...flags,
    ...(tls ?? []),
  ];
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
  const { stdout } = await run(server, ['--version'], { env: environmentWithout('ETCD_') });
  const version = /etcd Version: (\S+)/.exec(stdout)?.[1];
  return version?.startsWith(`${release}.`) ? { release, version, server, control } : undefined;
}

async function onPath(program: string): Promise<string | undefined> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
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
