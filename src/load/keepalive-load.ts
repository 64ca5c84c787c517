/**
 * Keepalives: leases that exist (grants.ts) are renewed over long streams, as clients do it.
 *
 * A lease has at most one keepalive under way, so an answer is matched by its id, in whatever order answers come. An
 * answer without a TTL (the lease is gone) ends the run with an error.
 */
import { Histogram, type LatencySummary } from './histogram.js';
import { cpuMicros, elapsed } from './processes.js';
import { leaseOf, writeVarint4 } from './requests.js';
import { StreamConnection } from './stream-connection.js';
import type { LoadProgress } from './unary-load.js';
import { delayUnless, openPromise } from './waiting.js';

export interface LeaseLoadResult {
  readonly leases: number;
  readonly connections: number;
  readonly streams: number;
  readonly outstanding: number;
  /** Of the grants before the measurement, 0 when there were none: a second, all together. */
  readonly grantsPerSecond: number;
  readonly seconds: number;
  readonly keepalives: number;
  readonly perSecond: number;
  readonly latencyMs: LatencySummary;
  /** CPUs this program kept busy. */
  readonly clientCpus: number;
  readonly serverCpus: number | undefined;
  readonly serverMicrosPerKeepalive: number | undefined;
}

export interface LeaseLoadOptions {
  readonly endpoints: readonly string[];
  readonly leases: number;
  readonly connections: number;
  readonly streams: number;
  readonly outstanding: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly pids: readonly number[];
  /** Called once, when the measured time begins. */
  readonly watch?: ((progress: LoadProgress) => void) | undefined;
}

/** LeaseKeepAliveRequest: field 1, the id, to be written over. */
const keepAliveRequest = [0x08, 0, 0, 0, 0];
const Tag = { Header: 0x0a, Id: 0x10, Ttl: 0x18 } as const;

/** The keepalives of one stream: its leases in turn, a fixed number of them under way. */
interface Renewals {
  readonly first: number;
  readonly count: number;
  readonly outstanding: number;
  next: number;
}

/** Runs one measurement over leases that exist. Rejects when one is gone or a connection breaks; all are closed then. */
export async function runKeepalives(options: LeaseLoadOptions, grantsPerSecond: number): Promise<LeaseLoadResult> {
  const open: StreamConnection[] = [];
  try {
    return await renewOver(open, options, grantsPerSecond);
  } finally {
    for (const connection of open) connection.close();
  }
}

/** The measurement; the connections are in `open` as soon as they are. */
async function renewOver(
  open: StreamConnection[],
  options: LeaseLoadOptions,
  grantsPerSecond: number,
): Promise<LeaseLoadResult> {
  const { endpoints, leases, connections, streams, outstanding } = options;
  const histogram = new Histogram();
  const broken = openPromise();
  const sentMs = new Float64Array(leases).fill(Number.NaN);
  const shares = Array.from({ length: streams }, (_, stream): Renewals => {
    const first = Math.floor((leases * stream) / streams);
    const count = Math.floor((leases * (stream + 1)) / streams) - first;
    const share = Math.floor(outstanding / streams) + (stream < outstanding % streams ? 1 : 0);
    return { first, count, outstanding: Math.max(1, Math.min(share, count)), next: 0 };
  });
  const request = Buffer.from(keepAliveRequest);
  let stopping = false;
  let underWay = 0;
  const idle = openPromise();
  const renew = (stream: number) => {
    const renewals = shares[stream]!;
    // Answers of a stream may overtake each other: a lease whose last keepalive is still under way is passed over.
    let lease = renewals.first + renewals.next;
    while (!Number.isNaN(sentMs[lease]!)) lease = renewals.first + ((lease + 1 - renewals.first) % renewals.count);
    renewals.next = (lease + 1 - renewals.first) % renewals.count;
    writeVarint4(request, 1, leaseOf(lease));
    sentMs[lease] = performance.now();
    underWay++;
    open[stream % connections]!.send(Math.floor(stream / connections), Buffer.from(request));
  };
  const onMessage = (stream: number, bytes: Buffer, start: number, end: number, nowMs: number) => {
    const lease = readRenewed(bytes, start, end) - leaseOf(0);
    const startedMs = sentMs[lease];
    if (startedMs === undefined || Number.isNaN(startedMs)) throw new Error(`lease ${lease} was not to be renewed`);
    sentMs[lease] = Number.NaN;
    histogram.record(Math.max(nowMs - startedMs, 0));
    underWay--;
    if (!stopping) renew(stream);
    else if (underWay === 0) idle.resolve();
  };
  for (let position = 0; position < connections; position++) {
    const connection = await StreamConnection.open({
      endpoint: endpoints[position % endpoints.length]!,
      path: '/etcdserverpb.Lease/LeaseKeepAlive',
      onMessage: (stream, ...message) => onMessage(stream * connections + position, ...message),
      failed: broken.reject,
    });
    open.push(connection);
  }
  for (let stream = 0; stream < streams; stream++) open[stream % connections]!.openStream();
  for (const [stream, share] of shares.entries()) for (let i = 0; i < share.outstanding; i++) renew(stream);
  for (const connection of open) connection.flush();
  const measured = await measureFor(options, histogram, broken.promise);
  stopping = true;
  await Promise.race([broken.promise, idle.promise]);
  return { leases, connections, streams, outstanding, grantsPerSecond, ...measured };
}

/** Warms up, measures, and says what it cost. */
async function measureFor(options: LeaseLoadOptions, histogram: Histogram, broken: Promise<void>) {
  await delayUnless(broken, options.warmup * 1000);
  histogram.reset();
  const [cpuBefore, serverBefore] = [process.cpuUsage(), cpuMicros(options.pids)];
  const fromMs = performance.now();
  options.watch?.({ histogram, failed: {}, fromMs });
  await delayUnless(broken, options.seconds * 1000);
  const seconds = (performance.now() - fromMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const serverMicros = elapsed(serverBefore, cpuMicros(options.pids));
  const keepalives = histogram.count;
  return {
    ...{ seconds, keepalives, perSecond: keepalives / seconds, latencyMs: histogram.summary() },
    clientCpus: (cpu.user + cpu.system) / 1e6 / seconds,
    serverCpus: serverMicros === undefined ? undefined : serverMicros / 1e6 / seconds,
    serverMicrosPerKeepalive: serverMicros === undefined ? undefined : serverMicros / Math.max(keepalives, 1),
  };
}

/** The lease that a LeaseKeepAliveResponse renewed. */
function readRenewed(bytes: Buffer, start: number, end: number): number {
  let [position, lease, ttlSeconds] = [start, 0, 0];
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[position++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (position < end) {
    const tag = bytes[position++];
    const value = varint();
    if (tag === Tag.Header) position += value;
    else if (tag === Tag.Id) lease = value;
    else if (tag === Tag.Ttl) ttlSeconds = value;
  }
  if (ttlSeconds <= 0) throw new Error(`lease ${lease} is gone`);
  return lease;
}
