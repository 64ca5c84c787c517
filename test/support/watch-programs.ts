/**
 * Seeded random watch programs for differential tests: writes, and watchers that come and go on several streams.
 *
 * As in programs.ts a program is a pure function of (seed, base revision): the same seed with another base is the same
 * program at another place of the store's history. The keys are few and the ranges meet, so that most writes concern
 * several watchers; start revisions lie around the program's own, before, at and behind what is compacted.
 */
import { Prng } from '../../src/base/prng.js';
import { describeMessage, type Message } from './messages.js';
import { type Operation, operation, programLeases } from './programs.js';

export type WatchStep =
  | { readonly kind: 'write'; readonly operation: Operation }
  /** Compacts to so many revisions before the newest. */
  | { readonly kind: 'compact'; readonly behind: bigint }
  | { readonly kind: 'create'; readonly stream: number; readonly request: Message }
  | { readonly kind: 'cancel'; readonly stream: number; readonly id: bigint }
  | { readonly kind: 'progress'; readonly stream: number };

export interface WatchProgramOptions {
  readonly streams: number;
  readonly stepsMax: number;
  /** Values of which a few fill a response: what is fragmented. */
  readonly bigValues: boolean;
}

const names = ['a', 'aa', 'ab', 'b', 'b\0', 'c', 'd', '\0', '\xff', '\xff\xff'];
const keys = names.map(name => Buffer.from(name, 'latin1'));
const nothing = Buffer.alloc(0);
const fromKey = Buffer.from([0]);
const bigValueBytes = 900 * 1024;

/** The steps of the program `seed`, for a store whose newest revision, compacted, is `base`. */
export function generateWatchProgram(seed: number, base: bigint, options: WatchProgramOptions): WatchStep[] {
  const generator = new Generator(new Prng(seed), base, options);
  const count = 5 + generator.below(options.stepsMax - 4);
  return Array.from({ length: count }, () => generator.step());
}

/** A step as one line of text. */
export function describeWatchStep(step: WatchStep): string {
  switch (step.kind) {
    case 'write':
      return `${step.operation.method} ${describeMessage(step.operation.request)}`;
    case 'compact':
      return `compact to ${step.behind} before the newest revision`;
    case 'create':
      return `stream ${step.stream}: create ${describeMessage(step.request)}`;
    case 'cancel':
      return `stream ${step.stream}: cancel ${step.id}`;
    case 'progress':
      return `stream ${step.stream}: progress`;
  }
}

class Generator {
  readonly #prng: Prng;
  readonly #base: bigint;
  readonly #options: WatchProgramOptions;
  #written = 0;

  constructor(prng: Prng, base: bigint, options: WatchProgramOptions) {
    this.#prng = prng;
    this.#base = base;
    this.#options = options;
  }

  below(n: number): number {
    return this.#prng.nextBelow(n);
  }

  step(): WatchStep {
    const dice = this.below(100);
    const stream = this.below(this.#options.streams);
    if (dice < 60) return { kind: 'write', operation: this.#write() };
    if (dice < 82) return { kind: 'create', stream, request: this.#create() };
    if (dice < 90) return { kind: 'cancel', stream, id: this.#chance(0.1) ? -1n : BigInt(this.below(6)) };
    if (dice < 96) return { kind: 'progress', stream };
    return { kind: 'compact', behind: BigInt(this.below(5)) };
  }

  #write(): Operation {
    this.#written++;
    const dice = this.below(100);
    if (dice < 55) return operation('Put', this.#put(this.#key()));
    if (dice < 70) return operation('DeleteRange', this.#range());
    if (dice < 76) return this.#lease();
    const unused = [...keys];
    const taken = () => unused.splice(this.below(unused.length), 1)[0]!;
    const success = Array.from({ length: 1 + this.below(4) }, () =>
      this.#chance(0.75) ? { request_put: this.#put(taken()) } : { request_delete_range: { key: taken() } },
    );
    return operation('Txn', { success });
  }

  /** A lease is revoked and granted anew: its keys go in one revision. */
  #lease(): Operation {
    const id = this.#pick(programLeases);
    return this.#chance(0.6) ? operation('LeaseRevoke', { ID: id }) : operation('LeaseGrant', { ID: id, TTL: 3600n });
  }

  #put(key: Buffer): Message {
    const big = this.#options.bigValues && this.#chance(0.3);
    return {
      key,
      value: big ? Buffer.alloc(bigValueBytes, 'big') : Buffer.from(`value ${this.#written}`),
      lease: this.#chance(0.15) ? this.#pick(programLeases) : 0n,
    };
  }

  #create(): Message {
    return {
      ...this.#range(),
      start_revision: this.#start(),
      progress_notify: this.#chance(0.2),
      filters: this.#chance(0.7) ? [] : this.#pick([[0], [1], [0, 1], [1, 1], [7]]),
      prev_kv: this.#chance(0.5),
      watch_id: this.#chance(0.6) ? 0n : this.#pick([1n, 2n, 3n, 5n, 5n, -1n, -7n, 2n ** 63n - 1n]),
      fragment: this.#chance(0.3),
    };
  }

  /** None below zero: older releases take it (etcd pull request 20693), and other watchers then miss events. */
  #start(): bigint {
    const dice = this.below(100);
    if (dice < 35) return 0n;
    if (dice < 40) return this.#pick([1n, 2n ** 62n]);
    return this.#base + BigInt(this.below(this.#written + 5) - 1);
  }

  #range(): Message {
    const key = this.#chance(0.03) ? nothing : this.#key();
    const dice = this.below(100);
    if (dice < 30) return { key };
    if (dice < 60) return { key, range_end: fromKey };
    if (dice < 75) return { key: fromKey, range_end: fromKey };
    return { key, range_end: this.#key() }; // Sometimes an empty range.
  }

  #key(): Buffer {
    return this.#pick(keys);
  }

  #chance(probability: number): boolean {
    return this.#prng.nextFloat() < probability;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}
