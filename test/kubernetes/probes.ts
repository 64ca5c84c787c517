/**
 * Watches of every shape, created and cancelled all the time on one stream: single keys, prefixes, everything; from
 * before and behind the current revision; filtered; with ids of the client's choice.
 *
 * Nobody uses what they deliver: they are there for the validators.
 */
import type { Prng } from '../../src/base/prng.js';
import { kindRange, kinds, registry } from './api-server.js';
import type { Ledger } from './ledger.js';
import { type KeyRange, prefixRange, type WatchRequest } from './records.js';
import type { WatchClient, Watcher } from './watch-client.js';

const probesMax = 12;
const everyMs = 100;
/** How far before and behind the current revision a watch begins. */
const startOffset = 150;
const firstOwnId = 1_000_000;

export class Probes {
  readonly client: WatchClient;
  readonly #prng: Prng;
  readonly #ledger: Ledger;
  readonly #atCompaction: boolean;
  readonly #watchers: Watcher[] = [];
  #ids = firstOwnId;

  /** `atCompaction`: some begin at or beside the compacted revision. */
  constructor(client: WatchClient, prng: Prng, ledger: Ledger, atCompaction: boolean) {
    this.client = client;
    this.#prng = prng;
    this.#ledger = ledger;
    this.#atCompaction = atCompaction;
  }

  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const watcher = this.client.add(this.#request(), { events: () => {}, compacted: () => {} });
      this.#watchers.push(watcher);
      if (this.#watchers.length > probesMax) this.client.remove(this.#watchers.shift()!);
      await new Promise(resolve => setTimeout(resolve, everyMs));
    }
  }

  #request(): WatchRequest {
    const prng = this.#prng;
    const often = (percent: number) => prng.nextBelow(100) < percent;
    return {
      ...this.#range(),
      startRevision: this.#start(),
      prevKv: often(60),
      progressNotify: often(50),
      fragment: often(30),
      noPut: often(20),
      noDelete: often(20),
      watchId: often(30) ? ++this.#ids : 0,
    };
  }

  /** From now on, at or beside the compacted revision, or around the current one. */
  #start(): number {
    const prng = this.#prng;
    const { compactionAsked, floor } = this.#ledger;
    const choice = prng.nextBelow(8);
    if (choice < 2) return 0;
    if (choice < 4 && this.#atCompaction) return Math.max(1, compactionAsked + prng.nextBelow(3) - 1);
    return Math.max(1, floor + prng.nextBelow(2 * startOffset + 1) - startOffset);
  }

  #range(): KeyRange {
    const prng = this.#prng;
    const kind = kinds[prng.nextBelow(kinds.length)]!;
    switch (prng.nextBelow(5)) {
      case 0:
        return { key: '\0', rangeEnd: '\0' };
      case 1:
        return { key: `${registry}${kind}/`, rangeEnd: '\0' };
      case 2:
        return { key: `${registry}${kind}/ns-0/${kind}-00${prng.nextBelow(6)}0`, rangeEnd: '' };
      case 3:
        return prefixRange(`${registry}${kind}/ns-${prng.nextBelow(4)}/`);
      default:
        return kindRange(kind);
    }
  }
}
