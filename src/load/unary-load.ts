/**
 * Unary calls at a steady number under way: the measurement behind `kvorum bench` and bench/load/main.
 *
 *     connections --finished(status, latency)--> histogram of the measured time, failures by gRPC status
 *
 * One connection per endpoint unless told otherwise, the calls in flight spread evenly.
 */
import { LoadConnection } from './connection.js';
import { Histogram, type LatencySummary } from './histogram.js';
import type { RequestTemplate } from './requests.js';
import { delayUnless, openAll, openPromise, tickAtRate } from './waiting.js';

/** Where a measurement stands, for who looks on: the histogram counts from `fromMs`. */
export interface LoadProgress {
  readonly histogram: Histogram;
  /** Calls that failed, by gRPC status, since the start. */
  readonly failed: Readonly<Record<string, number>>;
  readonly fromMs: number;
}

export interface UnaryLoad {
  /** `host:port` each; the connections go round them. */
  readonly endpoints: readonly string[];
  /** What is called, all with one path; `chooseTemplate` says which one is next, when there are several. */
  readonly templates: readonly RequestTemplate[];
  readonly chooseTemplate?: () => number;
  readonly nextKey: () => number;
  /** Calls under way over all connections. */
  readonly outstanding: number;
  /** Default: one for each endpoint. */
  readonly connections?: number;
  readonly seconds: number;
  /** Seconds that do not count. */
  readonly warmup: number;
  /** Instead of a time: so many calls, all counted, no warm-up. */
  readonly requests?: number | undefined;
  /** At most so many calls a second. */
  readonly rate?: number | undefined;
  /** Called once, when the measured time begins. */
  readonly watch?: ((progress: LoadProgress) => void) | undefined;
}

export interface UnaryResult {
  readonly connections: number;
  readonly seconds: number;
  readonly requests: number;
  readonly perSecond: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly latencyMs: LatencySummary;
  /** What the generator itself cost. */
  readonly clientMicrosPerRequest: number;
}

/** Runs one measurement. Rejects when a connection breaks. */
export async function runUnaryLoad(load: UnaryLoad): Promise<UnaryResult> {
  const { endpoints, templates, chooseTemplate, nextKey, outstanding, requests: wanted, rate } = load;
  const histogram = new Histogram();
  const failed: Record<string, number> = {};
  // With fewer calls in flight than connections the first ones get them.
  const count = Math.min(load.connections ?? endpoints.length, outstanding);
  const end = openPromise();
  const finished = (status: number, latencyMs: number) => {
    histogram.record(latencyMs);
    if (status !== 0) failed[status] = (failed[status] ?? 0) + 1;
    if (histogram.count === wanted) end.resolve();
  };
  const options = { templates, chooseTemplate, nextKey, finished, failed: end.reject, ...(rate && { calls: 1 }) };
  const open = await openAll(
    Array.from({ length: count }, (_, at) =>
      LoadConnection.open({ ...options, endpoint: endpoints[at % endpoints.length] as string }),
    ),
  );
  // One that breaks ends the run: the others must not keep the process alive.
  end.promise.catch(() => {
    for (const connection of open) connection.close();
  });
  histogram.reset();
  for (const [at, connection] of open.entries()) connection.run(shareOf(outstanding, count, at));
  let next = 0;
  const allow = (calls: number): void => {
    for (let call = 0; call < calls; call += 1) open[next++ % count]?.allow(1);
  };
  const ticking = rate === undefined ? undefined : tickAtRate(rate, allow);
  if (wanted === undefined && load.warmup > 0) await delayUnless(end.promise, load.warmup * 1000);
  if (wanted === undefined) histogram.reset();
  const cpu = process.cpuUsage();
  const fromMs = performance.now();
  load.watch?.({ histogram, failed, fromMs });
  await (wanted === undefined ? delayUnless(end.promise, load.seconds * 1000) : end.promise);
  const seconds = (performance.now() - fromMs) / 1000;
  const cpuUsed = process.cpuUsage(cpu);
  const requests = histogram.count;
  const latencyMs = histogram.summary();
  clearInterval(ticking);
  await Promise.all(open.map(connection => connection.drain()));
  for (const connection of open) connection.close();
  return {
    ...{ connections: count, seconds, requests, perSecond: requests / seconds, failed, latencyMs },
    clientMicrosPerRequest: (cpuUsed.user + cpuUsed.system) / Math.max(1, requests),
  };
}

/** The calls in flight of the connection at `position`: as even as whole numbers allow. */
function shareOf(outstanding: number, connections: number, position: number): number {
  return Math.floor(outstanding / connections) + (position < outstanding % connections ? 1 : 0);
}

/** Numbers below `keySpace`, one after the other or in no order. */
export function keyChooser(order: 'sequential' | 'random', keySpace: number): () => number {
  let last = -1;
  if (order === 'sequential') {
    return () => {
      last = last + 1 === keySpace ? 0 : last + 1;
      return last;
    };
  }
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % keySpace;
  };
}
