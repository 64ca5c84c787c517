/**
 * One measurement: an operation of the plan, on one target, with so many clients.
 */
import { grantLeases } from '../../load/grants.js';
import type { LatencySummary } from '../../load/histogram.js';
import { runKeepalives } from '../../load/keepalive-load.js';
import { fixedRangeTemplate, type RequestTemplate, requestTemplate, txnTemplate } from '../../load/requests.js';
import { keyChooser, type LoadProgress, runUnaryLoad } from '../../load/unary-load.js';
import { runWatchLoad } from '../../load/watch-load.js';
import type { BenchPlan } from './flags.js';
import type { Target } from './target.js';

export interface Outcome {
  readonly target: string;
  readonly clients: number;
  readonly connections: number;
  readonly seconds: number;
  /** Calls; for watches: events. */
  readonly requests: number;
  readonly perSecond: number;
  readonly latencyMs: LatencySummary;
  /** Failed calls by gRPC status. */
  readonly failed: Readonly<Record<string, number>>;
}

type Watch = (progress: LoadProgress) => void;

const leaseTtlSeconds = 3_600;
/** Calls under way while the key space is filled. */
const fillOutstanding = 500;

/** Rejects when a connection breaks, or an event or a lease is missing. `watch` is called when measuring begins. */
export async function measure(plan: BenchPlan, target: Target, clients: number, watch: Watch): Promise<Outcome> {
  if (plan.operation === 'watch' || plan.operation === 'watch-latency')
    return measureWatch(plan, target, clients, watch);
  if (plan.operation === 'lease-keepalive') return measureKeepalives(plan, target, clients, watch);
  if (plan.operation === 'range' && plan.range === undefined) await fill(plan, target);
  const { seconds, warmup, total: requests, ratePerSecond: rate, connections } = plan;
  const calls = { seconds, warmup, requests, rate, watch, ...(connections === undefined ? {} : { connections }) };
  const nextKey = keyChooser(plan.keys, plan.keySpace);
  const load = { endpoints: target.endpoints, nextKey, outstanding: clients, ...callsOf(plan), ...calls };
  const { clientMicrosPerRequest: _, ...result } = await runUnaryLoad(load);
  return { target: target.name, clients, ...result };
}

interface Calls {
  readonly templates: readonly RequestTemplate[];
  readonly chooseTemplate?: () => number;
}

function callsOf(plan: BenchPlan): Calls {
  const { isSerializable, keySpace, txnOps, range, limit, countOnly } = plan;
  if (plan.operation === 'put') return { templates: [requestTemplate('put', plan)] };
  if (plan.operation === 'range') {
    if (range !== undefined) return { templates: [fixedRangeTemplate({ ...range, limit, isSerializable, countOnly })] };
    return { templates: [requestTemplate(isSerializable ? 'serializable-range' : 'range', plan)] };
  }
  const puts = txnTemplate('put', txnOps, keySpace, plan);
  if (plan.operation === 'txn-put') return { templates: [puts] };
  const gets = txnTemplate(isSerializable ? 'serializable-get' : 'get', txnOps, keySpace, plan);
  return { templates: [puts, gets], chooseTemplate: mixed(plan.readsPerWrite) };
}

/** 0 for a write, 1 for a read, evenly mixed: a read whenever reads are behind. */
function mixed(readsPerWrite: number): () => number {
  let [reads, writes] = [0, 0];
  return () => {
    if (reads < writes * readsPerWrite) {
      reads += 1;
      return 1;
    }
    writes += 1;
    return 0;
  };
}

/** Reads are to find something: every key is put once. */
async function fill(plan: BenchPlan, { endpoints }: Target): Promise<void> {
  const templates = [requestTemplate('put', plan)];
  const nextKey = keyChooser('sequential', plan.keySpace);
  const outstanding = Math.min(fillOutstanding, plan.keySpace);
  await runUnaryLoad({ endpoints, templates, nextKey, outstanding, seconds: 0, warmup: 0, requests: plan.keySpace });
}

/** With a rate the latency is what counts, without one the events a second: then so many puts are under way. */
async function measureWatch(plan: BenchPlan, target: Target, clients: number, watch: Watch): Promise<Outcome> {
  const { streams, watchersPerStream, watchedKeys: keys, ratePerSecond: rate, valueBytes, seconds, warmup } = plan;
  const connections = Math.min(plan.connections ?? target.endpoints.length, streams);
  const shape = { keys, watchers: streams * watchersPerStream, streams, connections };
  const { endpoints } = target;
  const options = { ...shape, endpoints, outstanding: clients, rate, valueBytes, seconds, warmup, pids: [], watch };
  const result = await runWatchLoad(options);
  return {
    ...{ target: target.name, clients, connections, seconds: result.seconds, failed: {} },
    ...{ requests: result.events, perSecond: result.eventsPerSecond, latencyMs: result.sinceSentMs },
  };
}

async function measureKeepalives(plan: BenchPlan, target: Target, clients: number, watch: Watch): Promise<Outcome> {
  const { endpoints } = target;
  const outstanding = Math.min(clients, plan.leases);
  const streams = Math.min(plan.streams, outstanding);
  const connections = Math.min(plan.connections ?? endpoints.length, streams);
  if (!granted.has(target)) await grantLeases(endpoints, plan.leases, leaseTtlSeconds);
  granted.add(target);
  const { leases, seconds, warmup } = plan;
  const options = { endpoints, leases, connections, streams, outstanding, seconds, warmup, pids: [], watch };
  const result = await runKeepalives(options, 0);
  return {
    ...{ target: target.name, clients, connections, seconds: result.seconds, failed: {} },
    ...{ requests: result.keepalives, perSecond: result.perSecond, latencyMs: result.latencyMs },
  };
}

/** Targets whose leases exist. */
const granted = new WeakSet<Target>();
