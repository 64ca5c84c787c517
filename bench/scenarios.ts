/**
 * What the comparison measures, and how one scenario is run against one running cluster.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Subject } from '../test/support/subject.js';
import { h2loadPuts } from './load/h2load.js';
import type { LoadResult } from './load/main.js';
import { cpuMicros } from './load/processes.js';
import type { OperationName } from './load/requests.js';

export interface Scenario {
  readonly name: string;
  readonly generator: 'own' | 'h2load';
  readonly operation: OperationName;
  readonly keys: 'sequential' | 'random';
  readonly outstanding: number;
  /** All endpoints, or the leader's only. */
  readonly target: 'all' | 'leader';
}

/** One measurement of one scenario on one cluster. */
export interface Measurement {
  readonly perSecond: number;
  /** Milliseconds; h2load knows no percentiles, its mean and maximum stand in. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the server's processes per call; undefined where the system does not tell. */
  readonly serverMicros: number | undefined;
}

export interface RunSettings {
  readonly seconds: number;
  readonly warmup: number;
  readonly valueBytes: number;
}

/** Keys that exist before the scenarios run; reads find them all. */
export const keySpace = 100_000;
const run = promisify(execFile);
const generator = fileURLToPath(new URL('./load/main.js', import.meta.url));

export const scenarios: readonly Scenario[] = [
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
];

/** Fills the key space, so that every later put overwrites and every range finds its key. */
export async function preload(endpoints: readonly string[], valueBytes: number): Promise<void> {
  const filling = own('preload', 'put', 'sequential', 500);
  await runGenerator(filling, endpoints, ['--requests', String(keySpace), '--value-bytes', String(valueBytes)]);
}

/** Runs a scenario; `endpoints` begin with the leader's. */
export async function measure(
  scenario: Scenario,
  subject: Subject,
  endpoints: readonly string[],
  settings: RunSettings,
): Promise<Measurement> {
  const before = cpuMicros(subject.pids);
  const targets = scenario.target === 'leader' ? endpoints.slice(0, 1) : endpoints;
  const { seconds, warmup, valueBytes } = settings;
  if (scenario.generator === 'h2load') {
    const result = await h2loadPuts({ ...settings, endpoint: targets[0]!, outstanding: scenario.outstanding });
    const { mean, max } = result.latencyMs;
    const all = (result.requests * (seconds + warmup)) / seconds;
    return { perSecond: result.perSecond, p50: mean, p99: max, serverMicros: perCall(before, subject.pids, all) };
  }
  const flags = ['--seconds', String(seconds), '--warmup', String(warmup), '--value-bytes', String(valueBytes)];
  const result = await runGenerator(scenario, targets, flags);
  // The server's CPU time covers the warm-up too, in which about as many calls a second were made.
  const all = (result.requests * (seconds + warmup)) / seconds;
  const { p50, p99 } = result.latencyMs;
  return { perSecond: result.perSecond, p50, p99, serverMicros: perCall(before, subject.pids, all) };
}

async function runGenerator(scenario: Scenario, endpoints: readonly string[], flags: readonly string[]) {
  const { stdout } = await run(process.execPath, [
    ...[generator, '--endpoints', endpoints.join(','), '--operation', scenario.operation, '--keys', scenario.keys],
    ...['--outstanding', String(scenario.outstanding), '--key-space', String(keySpace), ...flags],
  ]);
  return JSON.parse(stdout) as LoadResult;
}

function perCall(before: number | undefined, pids: readonly number[], calls: number): number | undefined {
  const after = cpuMicros(pids);
  return before === undefined || after === undefined ? undefined : (after - before) / calls;
}

function own(
  name: string,
  operation: OperationName,
  keys: 'sequential' | 'random',
  outstanding: number,
  target: 'all' | 'leader' = 'all',
): Scenario {
  return { name, generator: 'own', operation, keys, outstanding, target };
}

function h2load(name: string, outstanding: number): Scenario {
  return { name, generator: 'h2load', operation: 'put', keys: 'sequential', outstanding, target: 'leader' };
}
