/**
 * One life of a server under test: a process of its own, started on a data directory, ready or dead, killed.
 *
 *   start ──► ready (a linearizable Range was answered) ──► kill / cutPower / terminate ──► exited
 *        └──► exited (before it was ready: a power cut during start, or a server that refuses)
 *
 * The server is a command line, so real etcd and kvorum are judged by the same tests.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { freePorts } from '../support/etcd.js';
import { GrpcClient } from '../support/grpc-client.js';
import { environmentWithout } from '../support/server-process.js';
import { range } from './calls.js';
import {
  buildFaultyDisk,
  type DiskEvent,
  type DiskFaults,
  faultyDiskArguments,
  readDiskEvents,
} from './faulty-disk.js';

/** What is run: everything that stays the same from life to life. */
export interface ServerPlan {
  readonly name: string;
  readonly command: readonly string[];
  /** Client addresses, `host:port`, one for each member. */
  readonly endpoints: readonly string[];
  readonly directory: string;
}

/** The compiled command of this package beside the compiled tests. */
export const kvorumCommand = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.js');

/** The log is compacted every few hundred entries, so that crashes meet compactions. */
export const compactOften = ['--snapshot-count', '300', '--snapshot-catchup-entries', '50'] as const;

/** kvorum with these members in `<root>/disk`; the ports stay the same over restarts. */
export async function planKvorum(root: string, members: number, flags: readonly string[] = []): Promise<ServerPlan> {
  const endpoints = (await freePorts(members)).map(port => `127.0.0.1:${port}`);
  const directory = join(root, 'disk');
  const urls = endpoints.map(endpoint => `http://${endpoint}`).join(',');
  const command = [
    ...[process.execPath, kvorumCommand, '--data-dir', join(directory, 'data')],
    ...['--listen-client-urls', urls, ...flags],
  ];
  return { name: `kvorum with ${members} member${members === 1 ? '' : 's'}`, command, endpoints, directory };
}

/** One etcd member; `program` is the path of the server. */
export async function planEtcd(root: string, program: string, flags: readonly string[] = []): Promise<ServerPlan> {
  const [client, peer] = (await freePorts(2)).map(port => `127.0.0.1:${port}`);
  const directory = join(root, 'disk');
  const command = [
    ...[program, '--name', 'n1', '--data-dir', join(directory, 'data'), '--logger', 'zap'],
    ...['--listen-client-urls', `http://${client}`, '--advertise-client-urls', `http://${client}`],
    ...['--listen-peer-urls', `http://${peer}`, '--initial-advertise-peer-urls', `http://${peer}`],
    ...['--initial-cluster', `n1=http://${peer}`, '--heartbeat-interval', '10', '--election-timeout', '100', ...flags],
  ];
  return { name: 'etcd', command, endpoints: [client!], directory };
}

/** The server ended although nobody had asked for it, or was not ready in time. */
export class ServerDied extends Error {
  override readonly name = 'ServerDied';
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const readyTimeoutMs = 30_000;
const readyRetryMs = 10;
const outputKeptCharacters = 200_000;
const shownLines = 6;
const shownColumns = 500;

const living = new Set<ChildProcessByStdio<null, Readable, Readable>>();
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

export class ServerLife {
  readonly plan: ServerPlan;
  /** Settles when the process is gone; never rejects. */
  readonly exited: Promise<Exit>;
  /** The faulty disk's event file; undefined on the machine's own disk. */
  readonly #report: string | undefined;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  #output = '';
  #hasExited = false;

  private constructor(plan: ServerPlan, program: string, args: readonly string[], report: string | undefined) {
    this.plan = plan;
    this.#report = report;
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environmentWithout('ETCD_') });
    living.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString()).slice(-outputKeptCharacters);
      });
    }
    this.exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.#hasExited = true;
        living.delete(this.#child);
        resolve({ code, signal });
      });
    });
  }

  /** Starts the server on the machine's disk. */
  static start(plan: ServerPlan): ServerLife {
    const [program, ...args] = plan.command;
    return new ServerLife(plan, program!, args, undefined);
  }

  /** Starts the server on a faulty disk; `report` is a file that its events are appended to. */
  static async startOnFaultyDisk(plan: ServerPlan, faults: DiskFaults, report: string): Promise<ServerLife> {
    const args = faultyDiskArguments(plan.directory, report, faults, plan.command);
    return new ServerLife(plan, await buildFaultyDisk(), args, report);
  }

  /** The last output of the server. */
  get output(): string {
    return this.#output;
  }

  /** The end of it, for messages. */
  get lastWords(): string {
    const lines = this.#output.trimEnd().split('\n').slice(-shownLines);
    return lines.map(line => (line.length > shownColumns ? `${line.slice(0, shownColumns)}…` : line)).join('\n');
  }

  get diskEvents(): readonly DiskEvent[] {
    return this.#report === undefined ? [] : readDiskEvents(this.#report);
  }

  /** Resolves with a client for each endpoint once each answers a linearizable Range; throws ServerDied. */
  async ready(): Promise<GrpcClient[]> {
    const giveUpAt = performance.now() + readyTimeoutMs;
    const clients: GrpcClient[] = [];
    for (const endpoint of this.plan.endpoints) {
      let client: GrpcClient | undefined;
      while (client === undefined) {
        client = await connectReady(endpoint);
        if (client !== undefined) break;
        const isLate = performance.now() > giveUpAt;
        if (this.#hasExited || isLate) {
          for (const other of clients) other.close();
          const how = isLate ? `is not ready after ${readyTimeoutMs} ms` : 'ended before it was ready';
          throw new ServerDied(`${this.plan.name} ${how}; its last words:\n${this.lastWords}`);
        }
        await Promise.race([this.exited, new Promise(resolve => setTimeout(resolve, readyRetryMs))]);
      }
      clients.push(client);
    }
    return clients;
  }

  /** kill -9: the page cache survives. Without effect when it is gone already. */
  kill(): Promise<Exit> {
    // faulty-disk must outlive the server to clean up behind it.
    this.#child.kill(this.#report === undefined ? 'SIGKILL' : 'SIGUSR1');
    return this.exited;
  }

  /** Cuts the power; only on a faulty disk. */
  cutPower(): Promise<Exit> {
    this.#child.kill('SIGUSR2');
    return this.exited;
  }

  /** SIGTERM: the server may end as it likes. */
  terminate(): Promise<Exit> {
    this.#child.kill('SIGTERM');
    return this.exited;
  }
}

async function connectReady(endpoint: string): Promise<GrpcClient | undefined> {
  const client = await GrpcClient.connect(endpoint).catch(() => undefined);
  if (client === undefined) return undefined;
  try {
    await range(client, 'ready');
    return client;
  } catch {
    client.close();
    return undefined;
  }
}
