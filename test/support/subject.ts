/**
 * The cluster under test of the interop tests and the comparison: real etcd or kvorum, behind one interface.
 *
 * kvorum is started as users start it, by its command in a process of its own, so that a test meets the whole program.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Family } from './differential.js';
import { startEtcd } from './etcd.js';
import { ownDirectory, startServer } from './server-process.js';

export interface Subject {
  readonly family: Family;
  /** Name and version, for messages and tables. */
  readonly name: string;
  /** Client addresses, `host:port`. */
  readonly endpoints: readonly string[];
  /** The processes that do the work. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface SubjectOptions {
  readonly members: 1 | 3;
  /** Keep the data below this directory and write it durably; without it the data is temporary, on both. */
  readonly parentDirectory?: string;
  /** Further flags of the server, whichever it is. */
  readonly flags?: readonly string[];
  /** Further flags of kvorum's command. */
  readonly kvorumFlags?: readonly string[];
  /** Flags that set up TLS for clients, the same for both; with them the client URLs are https. */
  readonly tls?: readonly string[] | undefined;
}

/** Starts a cluster and resolves when it serves clients. */
export async function startSubject(family: Family, options: SubjectOptions): Promise<Subject> {
  if (family === 'kvorum') return startKvorum(options);
  const cluster = await startEtcd({ ...options, version: family === 'etcd-3.4' ? '3.4' : '3.5' });
  return {
    family,
    name: `etcd ${cluster.binaries.version}`,
    endpoints: cluster.endpoints,
    pids: cluster.members.map(member => member.pid),
    stop: cluster.stop,
  };
}

/** Starts several clusters at once; when one does not start, none is left. */
export async function startSubjects(families: readonly Family[], options: SubjectOptions): Promise<Subject[]> {
  const outcomes = await Promise.allSettled(families.map(family => startSubject(family, options)));
  const started = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const failed = outcomes.find(outcome => outcome.status === 'rejected');
  if (failed === undefined) return started;
  await Promise.all(started.map(subject => subject.stop()));
  throw failed.reason;
}

async function startKvorum(options: SubjectOptions): Promise<Subject> {
  const directory = await ownDirectory('kvorum-', options.parentDirectory);
  const scheme = options.tls === undefined ? 'http' : 'https';
  const urls = Array.from({ length: options.members }, () => `${scheme}://127.0.0.1:0`).join(',');
  const storage =
    options.parentDirectory === undefined ? ['--ephemeral'] : ['--data-dir', join(directory.path, 'data')];
  const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
  const furtherFlags = [...(options.flags ?? []), ...(options.kvorumFlags ?? []), ...(options.tls ?? [])];
  const flags = [command, '--listen-client-urls', urls, ...storage, ...furtherFlags];
  // Killed, it cannot remove its ephemeral data: that lies in a directory which is removed.
  const variables = { TMPDIR: directory.path };
  const { server, ready } = await startServer('kvorum', process.execPath, flags, endpointsOfReadyLine, variables);
  const stop = async () => {
    await server.end();
    await directory.remove();
  };
  return { family: 'kvorum', name: 'kvorum', endpoints: ready, pids: [server.pid], stop };
}

/** The members' addresses from the log line that ends the start. */
function endpointsOfReadyLine(line: string): string[] | undefined {
  if (!line.includes('"ready to serve client requests"')) return undefined;
  const { members } = JSON.parse(line) as { members: { endpoint: string }[] };
  return members.map(member => member.endpoint.replace(/^https?:\/\//, ''));
}
