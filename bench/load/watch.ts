/**
 * Watch fan-out: puts on one connection, watchers on many, in one process of its own, so that one clock times both.
 *
 *   node dist/bench/load/watch.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --keys 1 --watchers 1000
 *
 *   --endpoints      the puts go to the first; the connections with watchers go round all of them
 *   --keys           keys that are put in turn                              (default 1)
 *   --watchers       over all keys: every key has watchers / keys of them    (default 1000)
 *   --streams        gRPC streams they are spread over                      (default watchers / 10)
 *   --connections    connections the streams are spread over                (default 30)
 *   --outstanding    puts under way; a put is over when it is acknowledged and every watcher has its event (default 1)
 *   --rate           instead: so many puts a second, whatever is under way
 *   --value-bytes    size of a value                                        (default 256)
 *   --seconds        measured time after the warm-up                        (default 5)
 *   --warmup         seconds that do not count                              (default 1)
 *   --pids           the servers' processes: their CPU time is measured
 *
 * Every event is counted by its put and checked: a watcher sees rising revisions, a put as many
 * events as it has watchers, all of them at the end. Prints one JSON object; anything amiss ends the run with an error.
 */
import { parseArgs } from 'node:util';
import { LoadConnection } from './connection.js';
import { Histogram, type LatencySummary } from './histogram.js';
import { cpuMicros, elapsed } from './processes.js';
import { numberedPutTemplate } from './requests.js';
import { delay, openPromise } from './waiting.js';
import { openWatchers, type WatchShape } from './watchers.js';

export interface WatchLoadResult {
  readonly watchers: number;
  readonly streams: number;
  readonly connections: number;
  readonly seconds: number;
  readonly puts: number;
  readonly events: number;
  readonly eventsPerSecond: number;
  readonly putsPerSecond: number;
  /** From the put's sending to the event, over all events. */
  readonly sinceSentMs: LatencySummary;
  /** From the put's answer to the event; an event that comes before it counts as 0. */
  readonly sinceAcknowledgedMs: LatencySummary;
  /** From the put's sending to the last of its events. */
  readonly untilLastMs: LatencySummary;
  /** CPUs this program kept busy. */
  readonly clientCpus: number;
  readonly serverCpus: number | undefined;
  readonly serverMicrosPerEvent: number | undefined;
}

interface WatchLoadOptions extends WatchShape {
  readonly endpoints: readonly string[];
  readonly outstanding: number;
  readonly rate: number | undefined;
  readonly valueBytes: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly pids: readonly number[];
}

/** Puts that can be under way at once, a power of two. */
const ringSize = 2 ** 16;
const drainTimeoutMs = 20_000;
const unset = Number.NaN;

/** Which puts are under way, and what was measured of those that were delivered. */
class Puts {
  readonly sinceSent = new Histogram();
  readonly sinceAcknowledged = new Histogram();
  readonly untilLast = new Histogram();
  started = 0;
  delivered = 0;
  /** Acknowledged but not delivered. */
  lagging = 0;
  readonly #watchersOfKey: number;
  readonly #sentMs = new Float64Array(ringSize).fill(unset);
  readonly #acknowledgedMs = new Float64Array(ringSize).fill(unset);
  readonly #missing = new Int32Array(ringSize);

  constructor(watchersOfKey: number) {
    this.#watchersOfKey = watchersOfKey;
  }

  start(): number {
    const place = this.started & (ringSize - 1);
    if (this.#missing[place] !== 0) throw new Error('too many puts under way');
    this.#sentMs[place] = performance.now();
    this.#acknowledgedMs[place] = unset;
    this.#missing[place] = this.#watchersOfKey;
    return this.started++;
  }

  /** Returns whether every watcher has its event already. */
  acknowledge(number: number): boolean {
    const place = number & (ringSize - 1);
    this.#acknowledgedMs[place] = performance.now();
    if (this.#missing[place] === 0) return true;
    this.lagging++;
    return false;
  }

  /** An event of a put; returns whether it is the last one of a put that was acknowledged. */
  event(number: number, nowMs: number): boolean {
    const place = number & (ringSize - 1);
    if (number >= this.started || this.#missing[place]! <= 0) throw new Error(`one event too many of put ${number}`);
    const took = nowMs - this.#sentMs[place]!;
    const acknowledgedMs = this.#acknowledgedMs[place]!;
    this.sinceSent.record(Math.max(took, 0));
    this.sinceAcknowledged.record(acknowledgedMs < nowMs ? nowMs - acknowledgedMs : 0);
    if (--this.#missing[place]! > 0) return false;
    this.untilLast.record(took);
    this.delivered++;
    if (Number.isNaN(acknowledgedMs)) return false;
    this.lagging--;
    return true;
  }

  reset(): void {
    for (const histogram of [this.sinceSent, this.sinceAcknowledged, this.untilLast]) histogram.reset();
  }
}

async function main(): Promise<void> {
  const result = await runWatchLoad(readOptions(process.argv.slice(2)));
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function readOptions(args: string[]): WatchLoadOptions {
  const { values } = parseArgs({
    args,
    options: {
      endpoints: { type: 'string' },
      keys: { type: 'string', default: '1' },
      watchers: { type: 'string', default: '1000' },
      streams: { type: 'string' },
      connections: { type: 'string', default: '30' },
      outstanding: { type: 'string', default: '1' },
      rate: { type: 'string' },
      'value-bytes': { type: 'string', default: '256' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      pids: { type: 'string', default: '' },
    },
  });
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  const [keys, watchers] = [Number(values.keys), Number(values.watchers)];
  const streams = values.streams === undefined ? Math.ceil(watchers / 10) : Number(values.streams);
  if (watchers % keys !== 0) throw new Error('--watchers is no multiple of --keys');
  if (watchers % streams !== 0) throw new Error('--watchers is no multiple of --streams');
  return {
    ...{ keys, watchers, streams },
    endpoints: values.endpoints.split(','),
    connections: Math.min(Number(values.connections), streams),
    outstanding: Number(values.outstanding),
    rate: values.rate === undefined ? undefined : Number(values.rate),
    valueBytes: Number(values['value-bytes']),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    pids: values.pids === '' ? [] : values.pids.split(',').map(Number),
  };
}

async function runWatchLoad(options: WatchLoadOptions): Promise<WatchLoadResult> {
  const puts = new Puts(options.watchers / options.keys);
  const broken = openPromise();
  const drained = openPromise();
  let stopping = false;
  let allowed = 0;
  let putter: LoadConnection | undefined;
  const allow = (more: number) => {
    allowed += more;
    if (putter !== undefined && !stopping) putter.run(allowed);
  };
  const onEvent = (number: number, nowMs: number) => {
    const over = puts.event(number, nowMs);
    if (over && options.rate === undefined) allow(1);
    if (stopping && puts.delivered === puts.started) drained.resolve();
  };
  const watching = await openWatchers(options.endpoints, options, onEvent, broken.reject);
  const open = LoadConnection.open({
    endpoint: options.endpoints[0]!,
    template: numberedPutTemplate(options.valueBytes, options.keys),
    nextKey: () => puts.start(),
    finished: (status, _, call) => {
      if (status !== 0) return broken.reject(new Error(`put ${call} failed with status ${status}`));
      // By rate a call is allowed by the clock only; else its place is free when it is over, not when it is answered.
      const over = puts.acknowledge(call);
      if (options.rate !== undefined || !over) allow(-1);
    },
    failed: broken.reject,
  });
  putter = await Promise.race([open, failing(broken.promise)]);
  const ticking = options.rate === undefined ? undefined : tickAtRate(options.rate, allow);
  allowed = options.rate === undefined ? options.outstanding - puts.lagging : 0;
  allow(0);
  await Promise.race([broken.promise, delay(options.warmup * 1000)]);
  puts.reset();
  const [putsBefore, cpuBefore, serverBefore] = [puts.delivered, process.cpuUsage(), cpuMicros(options.pids)];
  const fromMs = performance.now();
  await Promise.race([broken.promise, delay(options.seconds * 1000)]);
  const seconds = (performance.now() - fromMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const serverAfter = cpuMicros(options.pids);
  const serverMicros = elapsed(serverBefore, serverAfter);
  const result = summarise(options, puts, seconds, puts.delivered - putsBefore, cpu.user + cpu.system, serverMicros);
  stopping = true;
  clearInterval(ticking);
  await Promise.race([broken.promise, putter.drain()]);
  if (puts.delivered < puts.started) {
    await Promise.race([broken.promise, drained.promise, timeout(() => `${puts.started - puts.delivered} puts`)]);
  }
  for (const connection of [putter, ...watching]) connection.close();
  return result;
}

/** Allows calls as the clock says; the calls missed while this process was busy are made up for. */
function tickAtRate(rate: number, allow: (more: number) => void): NodeJS.Timeout {
  const fromMs = performance.now();
  let given = 0;
  return setInterval(() => {
    const due = Math.floor(((performance.now() - fromMs) * rate) / 1000);
    if (due === given) return;
    allow(due - given);
    given = due;
  }, 1);
}

function summarise(
  options: WatchLoadOptions,
  puts: Puts,
  seconds: number,
  delivered: number,
  clientMicros: number,
  serverMicros: number | undefined,
): WatchLoadResult {
  const events = puts.sinceSent.count;
  return {
    watchers: options.watchers,
    streams: options.streams,
    connections: options.connections,
    seconds,
    puts: delivered,
    events,
    eventsPerSecond: events / seconds,
    putsPerSecond: delivered / seconds,
    sinceSentMs: puts.sinceSent.summary(),
    sinceAcknowledgedMs: puts.sinceAcknowledged.summary(),
    untilLastMs: puts.untilLast.summary(),
    clientCpus: clientMicros / 1e6 / seconds,
    serverCpus: serverMicros === undefined ? undefined : serverMicros / 1e6 / seconds,
    serverMicrosPerEvent: serverMicros === undefined ? undefined : serverMicros / Math.max(events, 1),
  };
}

async function failing(promise: Promise<void>): Promise<never> {
  await promise;
  throw new Error('unreachable: the promise is only ever rejected');
}

/** Rejects when the end took too long; by itself it does not keep this process alive. */
function timeout(missing: () => string): Promise<never> {
  return new Promise((_, reject) => {
    const giveUp = () => reject(new Error(`${missing()} not delivered to every watcher in ${drainTimeoutMs} ms`));
    setTimeout(giveUp, drainTimeoutMs).unref();
  });
}

await main();
