/**
 * Keepalives: leases are granted first, then renewed over long streams, as clients do it.
 *
 *   node dist/bench/load/lease.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --leases 10000 --outstanding 100
 *
 *   --endpoints      the connections go round all of them
 *   --leases         how many there are; each stream renews its share in turn    (default 10000)
 *   --granted        they exist already
 *   --connections    connections                                                 (default one per endpoint)
 *   --streams        gRPC streams over all connections                           (default one per connection)
 *   --outstanding    keepalives under way over all streams, at least one on each (default 100)
 *   --ttl            seconds: long enough that none expires by itself            (default 3600)
 *   --seconds        measured time after the warm-up                             (default 5)
 *   --warmup         seconds that do not count                                   (default 1)
 *   --pids           the servers' processes: their CPU time is measured
 *
 * A lease has at most one keepalive under way, so an answer is matched by its id, in whatever order answers come. An
 * answer without a TTL (the lease is gone) ends the run with an error. Prints one JSON object.
 */
import { parseArgs } from 'node:util';
import { grantLeases } from './grants.js';
import { Histogram, type LatencySummary } from './histogram.js';
import { cpuMicros, elapsed } from './processes.js';
import { leaseOf, writeVarint4 } from './requests.js';
import { StreamConnection } from './stream-connection.js';
import { delay, openPromise } from './waiting.js';

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

interface LeaseLoadOptions {
  readonly endpoints: readonly string[];
  readonly leases: number;
  readonly granted: boolean;
  readonly connections: number;
  readonly streams: number;
  readonly outstanding: number;
  readonly ttlSeconds: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly pids: readonly number[];
}

/** LeaseKeepAliveRequest: field 1, the id, to be written over. */
const keepAliveRequest = [0x08, 0, 0, 0, 0];
const Tag = { Header: 0x0a, Id: 0x10, Ttl: 0x18 } as const;

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const grantsPerSecond = options.granted
    ? 0
    : await grantLeases(options.endpoints, options.leases, options.ttlSeconds);
  const result = await runKeepalives(options, grantsPerSecond);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function readOptions(args: string[]): LeaseLoadOptions {
  const { values } = parseArgs({
    args,
    options: {
      endpoints: { type: 'string' },
      leases: { type: 'string', default: '10000' },
      granted: { type: 'boolean', default: false },
      connections: { type: 'string' },
      streams: { type: 'string' },
      outstanding: { type: 'string', default: '100' },
      ttl: { type: 'string', default: '3600' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      pids: { type: 'string', default: '' },
    },
  });
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  const endpoints = values.endpoints.split(',');
  const outstanding = Number(values.outstanding);
  const connections = Math.min(Number(values.connections ?? endpoints.length), outstanding);
  const streams = Math.max(connections, Number(values.streams ?? connections));
  const leases = Number(values.leases);
  if (outstanding > leases || streams > leases) throw new Error('more keepalives or streams than leases');
  return {
    ...{ endpoints, leases, connections, streams, outstanding },
    granted: values.granted,
    ttlSeconds: Number(values.ttl),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    pids: values.pids === '' ? [] : values.pids.split(',').map(Number),
  };
}

/** The keepalives of one stream: its leases in turn, a fixed number of them under way. */
interface Renewals {
  readonly first: number;
  readonly count: number;
  readonly outstanding: number;
  next: number;
}

async function runKeepalives(options: LeaseLoadOptions, grantsPerSecond: number): Promise<LeaseLoadResult> {
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
  const open: StreamConnection[] = [];
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
  for (const connection of open) connection.close();
  return { leases, connections, streams, outstanding, grantsPerSecond, ...measured };
}

/** Warms up, measures, and says what it cost. */
async function measureFor(options: LeaseLoadOptions, histogram: Histogram, broken: Promise<void>) {
  await Promise.race([broken, delay(options.warmup * 1000)]);
  histogram.reset();
  const [cpuBefore, serverBefore] = [process.cpuUsage(), cpuMicros(options.pids)];
  const fromMs = performance.now();
  await Promise.race([broken, delay(options.seconds * 1000)]);
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

await main();
