/**
 * A cache of one prefix, kept as Kubernetes keeps it: list, watch from the list's revision, list again only when
 * compaction has overtaken the watch.
 *
 * Each list begins a life. A life's events, over all streams that it took, must be the history's from the list on, each
 * once and in order; and the cache that they make must be the store.
 */
import { describe, type History, sameChange } from './history.js';
import { differences } from './ledger.js';
import {
  isWanted,
  type KeyRange,
  type KeyValue,
  type Violation,
  type WatchEvent,
  type WatchRequest,
} from './records.js';
import type { WatchClient } from './watch-client.js';

export interface Listing {
  readonly revision: number;
  readonly pairs: readonly KeyValue[];
}

interface Life {
  readonly listed: Listing;
  readonly events: WatchEvent[];
}

export interface ReflectorOptions {
  readonly name: string;
  readonly range: KeyRange;
  readonly client: WatchClient;
  /** Lists the range; undefined: it failed and is to be tried again. */
  readonly list: () => Promise<Listing | undefined>;
  readonly watch?: Partial<WatchRequest>;
}

const listAgainMs = 50;

export class Reflector {
  readonly cache = new Map<string, KeyValue>();
  readonly lives: Life[] = [];
  readonly #options: ReflectorOptions;
  readonly #request: WatchRequest;
  #seen = 0;
  #isStopped = false;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#request = {
      ...options.range,
      ...{ startRevision: 0, prevKv: true, progressNotify: true, fragment: false, noPut: false, noDelete: false },
      ...{ watchId: 0, ...options.watch },
    };
  }

  get name(): string {
    return this.#options.name;
  }

  get range(): KeyRange {
    return this.#options.range;
  }

  /** The last revision that reached the cache. */
  get seen(): number {
    return this.#seen;
  }

  /** Lists until a list succeeds, then watches. */
  async start(): Promise<void> {
    let listed: Listing | undefined;
    while (listed === undefined) {
      if (this.#isStopped) return;
      listed = await this.#options.list();
      if (listed === undefined) await new Promise(resolve => setTimeout(resolve, listAgainMs));
    }
    this.cache.clear();
    for (const pair of listed.pairs) this.cache.set(pair.key, pair);
    const life: Life = { listed, events: [] };
    this.lives.push(life);
    this.#saw(listed.revision);
    this.#options.client.add(
      { ...this.#request, startRevision: listed.revision + 1 },
      {
        events: events => this.#apply(life, events),
        compacted: () => void this.start(),
      },
    );
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** What is wrong with the lives and, with the cache, which must have seen `revision`. */
  check(history: History, revision: number): Violation[] {
    const violations: Violation[] = [];
    const add = (text: string) => violations.push({ rule: 'reflector', where: this.name, text });
    for (const life of this.lives) {
      const flaw = this.#flaw(life, history);
      if (flaw !== undefined) add(flaw);
    }
    for (const text of differences(history.stateAt(revision, this.range), [...this.cache.values()], 'cache')) add(text);
    return violations;
  }

  /** The first place at which a life's events are not the history's. */
  #flaw({ listed, events }: Life, history: History): string | undefined {
    let at = 0;
    for (const change of history.between(listed.revision + 1, events.at(-1)?.kv.modRevision ?? 0)) {
      if (!isWanted(change, this.#request)) continue;
      const event = events[at++];
      if (event === undefined || !sameChange(event, change))
        return `event ${at} after the list of ${listed.revision} is ${event && describe(event)}, not ${describe(change)}`;
    }
    return at === events.length ? undefined : `${events.length - at} events too much after ${describe(events[at]!)}`;
  }

  #apply(life: Life, events: readonly WatchEvent[]): void {
    for (const event of events) {
      life.events.push(event);
      if (event.type === 'put') this.cache.set(event.kv.key, event.kv);
      else this.cache.delete(event.kv.key);
    }
    this.#saw(events.at(-1)?.kv.modRevision ?? 0);
  }

  #saw(revision: number): void {
    this.#seen = Math.max(this.#seen, revision);
  }
}
