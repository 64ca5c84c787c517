/**
 * What the client tests run against: a real etcd over the network, kvorum over the network, kvorum in this process.
 *
 * A target is one server (or one cluster) of its own, that can be taken away and brought back with its data.
 */
import { type TestContext, test } from 'node:test';
import { connect, type EtcdClient, startCluster } from '../../src/index.js';
import { freePorts, requireEtcd } from '../support/etcd.js';
import { ownDirectory, type ServerProcess, startServer } from '../support/server-process.js';

export interface Target {
  readonly isKvorum: boolean;
  /** A client; remote ones are connections of their own. All are closed with the target. */
  client(): EtcdClient;
  /** Takes the server away, as a crash would. */
  down(): Promise<void>;
  /** Brings it back. */
  up(): Promise<void>;
  close(): Promise<void>;
}

export type StartTarget = (test: TestContext) => Promise<Target | undefined>;

const inProcess = 'kvorum, in process';

/** Name -> how to start it; undefined: skipped, loudly. */
const targets: Readonly<Record<string, StartTarget>> = {
  'etcd 3.4': startEtcdTarget,
  'kvorum, remote': startKvorumTarget('network'),
  [inProcess]: startKvorumTarget('process'),
};

export type Case = (target: Target) => Promise<void>;

/** Runs every case against every target: one server a target, the cases one after the other. */
export function againstEveryTarget(cases: Readonly<Record<string, Case>>): void {
  runAgainst(Object.keys(targets), cases);
}

/** As againstEveryTarget, for what only a server answers. */
export function againstEveryServer(cases: Readonly<Record<string, Case>>): void {
  runAgainst(
    Object.keys(targets).filter(name => name !== inProcess),
    cases,
  );
}

function runAgainst(names: readonly string[], cases: Readonly<Record<string, Case>>): void {
  for (const name of names) {
    const start = targets[name]!;
    test(name, async context => {
      const target = await start(context);
      if (target === undefined) return;
      try {
        for (const [title, run] of Object.entries(cases)) {
          await context.test(title, { timeout: caseTimeoutMs }, () => run(target));
        }
      } finally {
        await target.close();
      }
    });
  }
}

/** The next `count` elements. */
export async function take<Element>(iterator: AsyncIterator<Element>, count: number): Promise<Element[]> {
  const elements: Element[] = [];
  while (elements.length < count) {
    const { value, done } = await iterator.next();
    if (done === true) break;
    elements.push(value);
  }
  return elements;
}

/** Resolves with the signal's reason once it is aborted. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise(resolve => {
    if (signal.aborted) resolve(signal.reason);
    signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
  });
}

const caseTimeoutMs = 30_000;

async function startEtcdTarget(test: TestContext): Promise<Target | undefined> {
  const binaries = await requireEtcd(test, '3.4');
  if (binaries === undefined) return undefined;
  const directory = await ownDirectory('kvorum-client-etcd-');
  const [clientPort, peerPort] = await freePorts(2);
  const clientUrl = `http://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const flags = [
    ...['--name', 'm1', '--data-dir', directory.path, '--logger', 'zap', '--initial-cluster', `m1=${peerUrl}`],
    ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
  ];
  let server: ServerProcess | undefined;
  const up = async (): Promise<void> => {
    const isReady = (line: string) => line.includes('serving client traffic insecurely') || undefined;
    server = (await startServer('etcd 3.4', binaries.server, flags, isReady)).server;
  };
  const down = async (): Promise<void> => {
    await server?.end();
    server = undefined;
  };
  const clients = new Clients(() => connect({ endpoints: clientUrl }));
  await up();
  const close = async (): Promise<void> => {
    clients.close();
    await down();
    await directory.remove();
  };
  return { isKvorum: false, client: () => clients.open(), down, up, close };
}

/** One cluster of a single member; `over`: how its clients reach it. */
function startKvorumTarget(over: 'network' | 'process'): StartTarget {
  return async () => {
    const cluster = await startCluster({ members: 1, logLevel: 'silent' });
    const member = cluster.members[0]!;
    const remote = (): EtcdClient => connect({ endpoints: cluster.endpoints });
    const clients = new Clients(over === 'network' ? remote : () => cluster.client());
    const close = async (): Promise<void> => {
      if (over === 'network') clients.close();
      await cluster.close();
    };
    const [down, up] = [() => member.kill(), () => member.start()];
    return { isKvorum: true, client: () => clients.open(), down, up, close };
  };
}

class Clients {
  readonly #open: () => EtcdClient;
  readonly #clients: EtcdClient[] = [];

  constructor(open: () => EtcdClient) {
    this.#open = open;
  }

  open(): EtcdClient {
    const client = this.#open();
    this.#clients.push(client);
    return client;
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}
