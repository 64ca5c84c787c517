/**
 * The whole run: API servers with their writers and caches, watches of other shapes beside them, compaction, faults,
 * and a quiet end. What is left is judged in judge.ts.
 *
 *   populate ─► lists, watches ─► load + faults ─► events' leases end ─► a marker in every kind ─► all have seen it
 *
 * There is one API server for each endpoint. Each has one stream with a watcher per kind, and on streams of their own a
 * cache of everything whose reader pauses for seconds, probes of random ranges and start revisions, and one watch of all
 * keys from revision 1 on. The last ones together are the reference history.
 *
 * The seed fixes what is done, not when the server answers.
 */
import { setMaxListeners } from 'node:events';
import { Prng } from '../../src/base/prng.js';
import { ApiServer, kindRange, kinds, registry } from './api-server.js';
import { EtcdConnection, PairDecoder } from './etcd-client.js';
import type { Evidence } from './judge.js';
import { Ledger } from './ledger.js';
import { Probes } from './probes.js';
import { type KeyRange, prefixRange, type WatchEvent, type WatchRequest } from './records.js';
import { Reflector } from './reflector.js';
import type { Rules } from './validators.js';
import { WatchClient } from './watch-client.js';

export interface LoadOptions {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[];
  readonly seed: number;
  readonly durationMs: number;
  /** Clients do not rely on what the server does not promise. */
  readonly rules: Rules;
  readonly compactEveryMs?: number;
  /** Besides, compacts to revisions of any kind so often, and has watches begin there: etcd 3.4 loses deletions then. */
  readonly compactAnywhereEveryMs?: number;
  /** After that long a call is given up; its outcome is unknown. */
  readonly callDeadlineMs?: number;
  /** Breaks things until the signal comes, then mends them. */
  readonly faults?: (prng: Prng, stop: AbortSignal) => Promise<void>;
}

/** Progress notifications often enough to meet everything else that happens. */
export const etcdFlags: readonly string[] = ['--experimental-watch-progress-notify-interval', '500ms'];

const everything: KeyRange = { key: '\0', rangeEnd: '\0' };
const referenceRequest: WatchRequest = {
  ...{ ...everything, startRevision: 1, prevKv: true, progressNotify: true, fragment: true },
  ...{ noPut: false, noDelete: false, watchId: 0 },
};

const writersPerServer = 2;
const pauseBetweenOperationsMs = 12;
const compactEveryMs = 3_000;
const progressEveryMs = 1_000;
const callDeadlineMs = 5_000;
/** A reader that stops for longer than two compactions loses its place in the history. */
const readerStopsMs = { min: 500, max: 7_000 } as const;
const readerReadsMs = 1_500;
/** The leases' TTL, a new leader's extension of it, and an etcd under load. */
const quietMsMax = 30_000;

/** Runs the load and returns what is to be judged. */
export async function runLoad(options: LoadOptions): Promise<Evidence> {
  const run = new Run(options);
  try {
    return await run.run();
  } finally {
    run.close();
  }
}

/** One API server and the watches beside it. */
interface Place {
  readonly server: ApiServer;
  readonly caches: WatchClient;
  readonly reflectors: readonly Reflector[];
  readonly slow: WatchClient;
  readonly slowReflector: Reflector;
  readonly probes: Probes;
  readonly reference: WatchClient;
  readonly seen: WatchEvent[];
}

class Run {
  readonly #options: LoadOptions;
  readonly #ledger = new Ledger();
  readonly #decoder = new PairDecoder();
  readonly #connections: EtcdConnection[] = [];
  readonly #places: Place[];
  readonly #stop = new AbortController();
  #seeds: number;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#seeds = options.seed;
    setMaxListeners(0, this.#stop.signal); // Every loop waits on it.
    this.#places = options.endpoints.map((_, at) => this.#place(at));
  }

  async run(): Promise<Evidence> {
    const [first] = this.#places;
    await first!.server.populate();
    const reflectors = this.#places.flatMap(place => [...place.reflectors, place.slowReflector]);
    await Promise.all(reflectors.map(reflector => reflector.start()));
    const stop = this.#stop.signal;
    const faults = this.#options.faults?.(this.#prng(), stop);
    const loops = this.#places.flatMap(place => this.#loops(place));
    await pause(this.#options.durationMs, stop);
    this.#stop.abort();
    this.#ledger.writersStopped();
    await Promise.all([...loops, faults]);
    const { lastRevision, late } = await this.#quiet(reflectors);
    for (const reflector of reflectors) reflector.stop();
    return {
      ...{ ledger: this.#ledger, reflectors, lastRevision, late },
      sources: this.#places.map(({ seen }) => seen),
      clients: this.#places.flatMap(({ caches, slow, probes, reference }) => [caches, slow, probes.client, reference]),
      servers: this.#places.map(({ server }) => server),
    };
  }

  close(): void {
    this.#stop.abort();
    for (const { caches, slow, probes, reference, reflectors, slowReflector } of this.#places) {
      for (const client of [caches, slow, probes.client, reference]) client.close();
      for (const reflector of [...reflectors, slowReflector]) reflector.stop();
    }
    for (const connection of this.#connections) connection.close();
  }

  #place(at: number): Place {
    const { endpoints, rules, callDeadlineMs: deadlineMs = callDeadlineMs } = this.#options;
    const ledger = this.#ledger;
    const decoder = this.#decoder;
    /** A connection to every endpoint, the server's own first. */
    const connections = () => {
      const made = endpoints.map(
        (_, next) => new EtcdConnection(endpoints[(at + next) % endpoints.length]!, deadlineMs),
      );
      this.#connections.push(...made);
      return made;
    };
    const client = (use: string, requireLeader: boolean) =>
      new WatchClient({
        ...{ name: `${use} ${at}`, connections: connections(), decoder, ledger, requireLeader },
        trustManualProgress: !rules.manualProgressMayOverrun,
      });
    const reflectorsByKind = new Map<string, Reflector>();
    const server = new ApiServer({
      ...{ name: `server ${at}`, connections: connections(), decoder, ledger, prng: this.#prng() },
      cached: (kind, key) => reflectorsByKind.get(kind)?.cache.get(key),
    });
    const caches = client('caches', true);
    for (const kind of kinds) {
      const range = kindRange(kind);
      const list = () => server.list(range);
      reflectorsByKind.set(kind, new Reflector({ name: `cache ${at} of ${kind}`, range, client: caches, list }));
    }
    const slow = client('slow reader', false);
    const range = prefixRange(registry);
    const list = () => server.list(range);
    const slowReflector = new Reflector({ name: `slow reader ${at}`, range, client: slow, list });
    const atCompaction = this.#options.compactAnywhereEveryMs !== undefined;
    const probes = new Probes(client('probes', false), this.#prng(), ledger, atCompaction);
    const seen: WatchEvent[] = [];
    const reference = client('reference', true);
    addReference(reference, seen, referenceRequest.startRevision);
    const reflectors = [...reflectorsByKind.values()];
    return { server, caches, reflectors, slow, slowReflector, probes, reference, seen };
  }

  #prng(): Prng {
    return new Prng(this.#seeds++);
  }

  #loops({ server, caches, slow, probes }: Place): Promise<void>[] {
    const stop = this.#stop.signal;
    const prng = this.#prng();
    const writers = Array.from({ length: writersPerServer }, () =>
      repeat(
        stop,
        () => prng.nextBelow(pauseBetweenOperationsMs),
        () => server.act(),
      ),
    );
    const compactions = repeat(
      stop,
      () => this.#options.compactEveryMs ?? compactEveryMs,
      () => server.compact(),
    );
    const { compactAnywhereEveryMs } = this.#options;
    const anywhere =
      compactAnywhereEveryMs === undefined
        ? Promise.resolve()
        : repeat(
            stop,
            () => compactAnywhereEveryMs,
            () => server.compactAnywhere(),
          );
    const progress = repeat(
      stop,
      () => progressEveryMs,
      async () => {
        for (const client of [caches, slow, probes.client]) client.requestProgress();
      },
    );
    const reader = repeat(
      stop,
      () => prng.nextBelow(readerReadsMs),
      async () => {
        slow.pause();
        await pause(readerStopsMs.min + prng.nextBelow(readerStopsMs.max - readerStopsMs.min), stop);
        slow.resume();
      },
    );
    return [...writers, compactions, anywhere, progress, reader, probes.run(stop)];
  }

  /** Waits until nothing happens any more and everybody has seen all of it; `late`: who has not. */
  async #quiet(reflectors: readonly Reflector[]): Promise<{ lastRevision: number; late: string[] }> {
    const { server } = this.#places[0]!;
    const deadline = AbortSignal.timeout(quietMsMax);
    const late: string[] = [];
    const events = kindRange('events');
    while ((await server.list(events))?.pairs.length !== 0) {
      if (deadline.aborted) {
        late.push('the leases of events have not ended');
        break;
      }
      await pause(100, deadline);
    }
    let lastRevision: number | undefined;
    while (lastRevision === undefined) {
      lastRevision = await server.mark();
      if (lastRevision === undefined && deadline.aborted) throw new Error('the store takes no writes at the end');
    }
    const within = AbortSignal.timeout(quietMsMax);
    setMaxListeners(0, within);
    const watch = async (name: string, sees: () => boolean) => {
      while (!sees() && !within.aborted) await pause(10, within);
      if (!sees()) late.push(`${name} has not seen revision ${lastRevision}`);
    };
    await Promise.all([
      ...reflectors.map(reflector => watch(reflector.name, () => reflector.seen >= lastRevision)),
      ...this.#places.map(({ seen }, at) =>
        watch(`reference ${at}`, () => (seen.at(-1)?.kv.modRevision ?? 0) >= lastRevision),
      ),
    ]);
    for (const kind of kinds) await server.list(kindRange(kind));
    return { lastRevision, late };
  }
}

/** Watches everything; when compaction overtakes it, it goes on behind: another reference has what is missing. */
function addReference(client: WatchClient, seen: WatchEvent[], startRevision: number): void {
  client.add(
    { ...referenceRequest, startRevision },
    {
      events: events => void seen.push(...events),
      compacted: compactRevision => addReference(client, seen, compactRevision),
    },
  );
}

/** Waits; the signal ends the wait early. */
export function pause(ms: number, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return Promise.resolve();
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    stop.addEventListener('abort', end);
  });
}

async function repeat(stop: AbortSignal, waitMs: () => number, act: () => Promise<void>): Promise<void> {
  while (!stop.aborted) {
    await act();
    await pause(waitMs(), stop);
  }
}
