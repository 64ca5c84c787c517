/**
 * What the comparison measures with unary calls, and the shapes that all its scenarios share.
 *
 * A group is a list of scenarios that one freshly started cluster serves one after the other.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cpuMicros } from '../src/load/processes.js';
import type { OperationName } from '../src/load/requests.js';
import type { Subject } from '../test/support/subject.js';
import { h2loadPuts } from './load/h2load.js';
import type { LoadResult } from './load/main.js';

export interface Group {
  readonly name: string;
  readonly scenarios: readonly Scenario[];
  /** Over TLS; nobody asks the clients for a certificate. */
  readonly secure?: true;
  /** What has to be there before the first scenario. */
  readonly prepare: (endpoints: readonly string[], settings: RunSettings) => Promise<unknown>;
}

export interface Scenario {
  readonly name: string;
  readonly needsH2load: boolean;
  readonly measure: (running: Running) => Promise<Measurement>;
}

/** A cluster that serves. */
export interface Running {
  readonly subject: Subject;
  /** The leader's first. */
  readonly endpoints: readonly string[];
  readonly settings: RunSettings;
}

/** One measurement of one scenario on one cluster. */
export interface Measurement {
  readonly perSecond: number;
  /** Milliseconds; h2load knows no percentiles, its mean and maximum stand in. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the server's processes per call or event; undefined where the system does not tell. */
  readonly serverMicros: number | undefined;
  /** CPUs that the load generator kept busy: on a small machine it takes them from the servers. */
  readonly clientCpus: number | undefined;
}

export interface RunSettings {
  readonly seconds: number;
  readonly warmup: number;
  readonly valueBytes: number;
}

interface CallScenario {
  readonly operation: OperationName;
  readonly keys: 'sequential' | 'random';
  readonly outstanding: number;
  /** All endpoints, or the leader's only. */
  readonly target: 'all' | 'leader';
}

/** Keys that exist before the scenarios run; reads find them all. */
const keySpace = 100_000;
const run = promisify(execFile);

export const calls: Group = {
  name: 'calls',
  scenarios: [
    // One client: latency. Its endpoint is the leader's, so that no forwarding is part of it.
    own('put-1', 'put', 'random', 1, 'leader'),
    own('put-100', 'put', 'random', 100),
    own('put-1000', 'put', 'random', 1000),
    own('put-sequential-100', 'put', 'sequential', 100),
    own('put-sequential-1000', 'put', 'sequential', 1000),
    own('put-leader-100', 'put', 'random', 100, 'leader'),
    own('put-leader-1000', 'put', 'random', 1000, 'leader'),
    h2load('h2load-put-1', 1),
    h2load('h2load-put-100', 100),
    h2load('h2load-put-1000', 1000),
    own('range-1', 'range', 'random', 1, 'leader'),
    own('range-100', 'range', 'random', 100),
    own('range-1000', 'range', 'random', 1000),
    own('serializable-1', 'serializable-range', 'random', 1, 'leader'),
    own('serializable-100', 'serializable-range', 'random', 100),
    own('serializable-1000', 'serializable-range', 'random', 1000),
  ],
  prepare: (endpoints, settings) => putEach(endpoints, keySpace, settings.valueBytes),
};

/** The same over TLS: one certificate (ECDSA P-256) for both sides, TLS 1.3, whatever cipher the two agree on. */
export const tls: Group = {
  name: 'tls',
  secure: true,
  scenarios: [
    own('tls-put-1', 'put', 'random', 1, 'leader'),
    own('tls-put-100', 'put', 'random', 100),
    own('tls-put-1000', 'put', 'random', 1000),
    h2load('tls-h2load-put-100', 100),
    own('tls-range-1', 'range', 'random', 1, 'leader'),
    own('tls-range-100', 'range', 'random', 100),
    own('tls-range-1000', 'range', 'random', 1000),
    own('tls-serializable-1000', 'serializable-range', 'random', 1000),
  ],
  prepare: calls.prepare,
};

/** Puts keys 0 to `keys` - 1, so that every later put overwrites and every range finds its key. */
export async function putEach(endpoints: readonly string[], keys: number, valueBytes: number): Promise<void> {
  const filling: CallScenario = { operation: 'put', keys: 'sequential', outstanding: 500, target: 'all' };
  await runCalls(filling, endpoints, ['--requests', String(keys), '--value-bytes', String(valueBytes)]);
}

/** Runs one of the programs in bench/load/ and gives the JSON object it prints. */
export async function runGenerator<Result>(program: string, flags: readonly string[]): Promise<Result> {
  const { stdout } = await run(process.execPath, [
    fileURLToPath(new URL(`./load/${program}.js`, import.meta.url)),
    ...flags,
  ]);
  return JSON.parse(stdout) as Result;
}

async function measureCalls(scenario: CallScenario, { subject, endpoints, settings }: Running): Promise<Measurement> {
  const before = cpuMicros(subject.pids);
  const targets = scenario.target === 'leader' ? endpoints.slice(0, 1) : endpoints;
  const { seconds, warmup, valueBytes } = settings;
  const flags = ['--seconds', String(seconds), '--warmup', String(warmup), '--value-bytes', String(valueBytes)];
  const result = await runCalls(scenario, targets, flags);
  const { requests, perSecond, clientMicrosPerRequest } = result;
  const { p50, p99 } = result.latencyMs;
  const serverMicros = perCall(before, subject.pids, requests, settings);
  return { perSecond, p50, p99, serverMicros, clientCpus: (clientMicrosPerRequest * perSecond) / 1e6 };
}

async function measureH2load(outstanding: number, { subject, endpoints, settings }: Running): Promise<Measurement> {
  const before = cpuMicros(subject.pids);
  const { requests, perSecond, latencyMs } = await h2loadPuts({ ...settings, endpoint: endpoints[0]!, outstanding });
  const serverMicros = perCall(before, subject.pids, requests, settings);
  return { perSecond, p50: latencyMs.mean, p99: latencyMs.max, serverMicros, clientCpus: undefined };
}

async function runCalls(scenario: CallScenario, endpoints: readonly string[], flags: readonly string[]) {
  return runGenerator<LoadResult>('main', [
    ...['--endpoints', endpoints.join(','), '--operation', scenario.operation, '--keys', scenario.keys],
    ...['--outstanding', String(scenario.outstanding), '--key-space', String(keySpace), ...flags],
  ]);
}

/** The server's CPU time covers the warm-up too, in which about as many calls a second were made. */
function perCall(before: number | undefined, pids: readonly number[], requests: number, settings: RunSettings) {
  const after = cpuMicros(pids);
  if (before === undefined || after === undefined) return undefined;
  return (after - before) / ((requests * (settings.seconds + settings.warmup)) / settings.seconds);
}

function own(
  name: string,
  operation: OperationName,
  keys: 'sequential' | 'random',
  outstanding: number,
  target: 'all' | 'leader' = 'all',
): Scenario {
  const scenario: CallScenario = { operation, keys, outstanding, target };
  return { name, needsH2load: false, measure: running => measureCalls(scenario, running) };
}

function h2load(name: string, outstanding: number): Scenario {
  return { name, needsH2load: true, measure: running => measureH2load(outstanding, running) };
}
