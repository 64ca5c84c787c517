/**
 * Watch fan-out: puts on one connection, watchers on many, in one process, so that one clock times both.
 *
 * Every event is counted by its put and checked: a watcher sees rising revisions, a put as many events as it has
 * watchers, all of them at the end. Anything amiss ends the run with an error.
 */
import { LoadConnection } from './connection.js';
import { Histogram, type LatencySummary } from './histogram.js';
import { cpuMicros, elapsed } from './processes.js';
import { numberedPutTemplate } from './requests.js';
import type { LoadProgress } from './unary-load.js';
import { delayUnless, openPromise, tickAtRate } from './waiting.js';
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

export interface WatchLoadOptions extends WatchShape {
  readonly endpoints: readonly string[];
  readonly outstanding: number;
  readonly rate: number | undefined;
  readonly valueBytes: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly pids: readonly number[];
  /** Called once, when the measured time begins. */
  readonly watch?: ((progress: LoadProgress) => void) | undefined;
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

/** Runs one measurement. Rejects when a put fails, an event is amiss or a connection breaks; all are closed then. */
export async function runWatchLoad(options: WatchLoadOptions): Promise<WatchLoadResult> {
  const open: { close(): void }[] = [];
  try {
    return await watchOver(open, options);
  } finally {
    for (const connection of open) connection.close();
  }
}

/** The measurement; the connections are in `open` as soon as they are. */
async function watchOver(open: { close(): void }[], options: WatchLoadOptions): Promise<WatchLoadResult> {
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
  open.push(...(await openWatchers(options.endpoints, options, onEvent, broken.reject)));
  putter = await LoadConnection.open({
    endpoint: options.endpoints[0]!,
    templates: [numberedPutTemplate(options.valueBytes, options.keys)],
    nextKey: () => puts.start(),
    finished: (status, _, call) => {
      if (status !== 0) return broken.reject(new Error(`put ${call} failed with status ${status}`));
      // By rate a call is allowed by the clock only; else its place is free when it is over, not when it is answered.
      const over = puts.acknowledge(call);
      if (options.rate !== undefined || !over) allow(-1);
    },
    failed: broken.reject,
  });
  open.push(putter);
  const ticking = options.rate === undefined ? undefined : tickAtRate(options.rate, allow);
  allowed = options.rate === undefined ? options.outstanding - puts.lagging : 0;
  allow(0);
  await delayUnless(broken.promise, options.warmup * 1000);
  puts.reset();
  const [putsBefore, cpuBefore, serverBefore] = [puts.delivered, process.cpuUsage(), cpuMicros(options.pids)];
  const fromMs = performance.now();
  options.watch?.({ histogram: puts.sinceSent, failed: {}, fromMs });
  await delayUnless(broken.promise, options.seconds * 1000);
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
  return result;
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

/** Rejects when the end took too long; by itself it does not keep this process alive. */
function timeout(missing: () => string): Promise<never> {
  return new Promise((_, reject) => {
    const giveUp = () => reject(new Error(`${missing()} not delivered to every watcher in ${drainTimeoutMs} ms`));
    setTimeout(giveUp, drainTimeoutMs).unref();
  });
}
