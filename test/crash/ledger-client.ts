/**
 * Load: writers and readers that call all endpoints at once and enter into the ledger what they are told.
 *
 *   writers   two in three puts are of a new key; the rest overwrite a few shared keys by compare-and-put, delete a key
 *             written before, and now and then compact or, where asked for, defragment
 *   readers   linearizable Range of a shared key, or of a key just written
 *
 * A call that ends in any error has an unknown outcome, whatever the error says. Connections are made anew for as long
 * as the load runs, so that it goes on through the restart of one member. `stop` ends the load: no call is begun after
 * it, and `run` resolves when all calls have ended.
 */
import type { Prng } from '../../src/base/prng.js';
import { GrpcClient } from '../support/grpc-client.js';
import { CallFailed, compact, compareAndPut, defragment, put, range, remove } from './calls.js';
import { type Ledger, sharedPrefix, uniquePrefix, valueFor } from './ledger.js';

export interface LoadOptions {
  readonly writers: number;
  readonly readers: number;
  readonly sharedKeys: number;
  readonly compactions: boolean;
  /** One of so many writes is a defragmentation of the member instead; none without it. */
  readonly defragmentEvery?: number;
}

export const defaultLoad: LoadOptions = { writers: 24, readers: 6, sharedKeys: 8, compactions: true };

/** Between attempts of one writer at a server that refuses. */
const retryMs = 10;
const compactEvery = 400;

export class LedgerClient {
  readonly #ledger: Ledger;
  readonly #prng: Prng;
  readonly #endpoints: readonly string[];
  readonly #options: LoadOptions;
  readonly #clients: (GrpcClient | undefined)[] = [];
  readonly #stopped: Promise<void>;
  #stop!: () => void;
  #isStopped = false;
  /** Shared key -> the mod_revision that the last answer carried. */
  readonly #sharedRevision = new Map<string, number>();
  readonly #deletable: string[] = [];
  #waiting: { readonly size: number; readonly resolve: () => void }[] = [];
  #lastKey = '';
  /** Completed calls, by the endpoint that answered. */
  readonly answered: number[];

  constructor(ledger: Ledger, endpoints: readonly string[], prng: Prng, options: LoadOptions = defaultLoad) {
    this.#ledger = ledger;
    this.#endpoints = endpoints;
    this.#prng = prng;
    this.#options = options;
    this.answered = endpoints.map(() => 0);
    this.#stopped = new Promise(resolve => {
      this.#stop = resolve;
    });
  }

  /** Runs until `stop`; never rejects because of the server. */
  async run(): Promise<void> {
    const { writers, readers } = this.#options;
    await Promise.all([
      ...Array.from({ length: writers }, (_, i) => this.#loop(i, client => this.#write(client))),
      ...Array.from({ length: readers }, (_, i) => this.#loop(i, client => this.#read(client))),
    ]);
    for (const client of this.#clients) client?.close();
  }

  /** Ends the load. `abrupt` also breaks the connections, as when the machine of the clients is gone as well. */
  stop(abrupt = false): void {
    this.#isStopped = true;
    this.#stop();
    if (abrupt) for (const client of this.#clients) client?.close();
  }

  /** Resolves with true when `writes` more writes than now are acknowledged, with false after `msMax` or `stop`. */
  async progress(writes: number, msMax: number): Promise<boolean> {
    const size = this.#ledger.history.size + writes;
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<void>(resolve => {
      timer = setTimeout(resolve, msMax);
    });
    const reached = new Promise<void>(resolve => {
      this.#waiting.push({ size, resolve });
    });
    await Promise.race([reached, tooLate, this.#stopped]);
    clearTimeout(timer);
    return this.#ledger.history.size >= size;
  }

  #wake(): void {
    const { size } = this.#ledger.history;
    for (const waiter of this.#waiting) if (waiter.size <= size) waiter.resolve();
    this.#waiting = this.#waiting.filter(waiter => waiter.size > size);
  }

  async #loop(index: number, call: (client: GrpcClient) => Promise<void>): Promise<void> {
    const slot = index % this.#endpoints.length;
    while (!this.#isStopped) {
      const client = await this.#connected(slot);
      try {
        if (client !== undefined) {
          await call(client);
          this.answered[slot]!++;
          if (this.#waiting.length > 0) this.#wake();
          continue;
        }
      } catch (error) {
        // The write stays unknown. A status says that the connection is good.
        if (!(error instanceof CallFailed)) this.#drop(slot, client);
      }
      await this.#pause();
    }
  }

  #drop(slot: number, client: GrpcClient | undefined): void {
    if (this.#clients[slot] === client) this.#clients[slot] = undefined;
    client?.close();
  }

  async #pause(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const elapsed = new Promise<void>(resolve => {
      timer = setTimeout(resolve, retryMs);
    });
    await Promise.race([this.#stopped, elapsed]);
    clearTimeout(timer);
  }

  async #connected(slot: number): Promise<GrpcClient | undefined> {
    if (this.#clients[slot] === undefined) {
      const client = await GrpcClient.connect(this.#endpoints[slot]!).catch(() => undefined);
      if (this.#clients[slot] === undefined) this.#clients[slot] = client;
      else client?.close();
    }
    return this.#clients[slot];
  }

  async #write(client: GrpcClient): Promise<void> {
    const { defragmentEvery = 0 } = this.#options;
    if (defragmentEvery > 0 && this.#prng.nextBelow(defragmentEvery) === 0) return defragment(client);
    const choice = this.#prng.nextBelow(100);
    if (choice < 25) return this.#overwrite(client);
    if (choice < 33 && this.#deletable.length > 0) return this.#delete(client);
    if (this.#options.compactions && this.#prng.nextBelow(compactEvery) === 0) return this.#compact(client);
    const ledger = this.#ledger;
    const write = ledger.begin('put', `${uniquePrefix}${this.#prng.nextUint32()}/${ledger.history.size}`, this.#size());
    ledger.acknowledged(write, await put(client, write.key, valueFor(write)));
    this.#lastKey = write.key;
    if (this.#deletable.length < 100) this.#deletable.push(write.key);
  }

  async #overwrite(client: GrpcClient): Promise<void> {
    const key = `${sharedPrefix}${this.#prng.nextBelow(this.#options.sharedKeys)}`;
    const write = this.#ledger.begin('put', key, this.#size());
    const expected = this.#sharedRevision.get(key) ?? 0;
    const answer = await compareAndPut(client, key, expected, valueFor(write));
    if (answer.succeeded) {
      this.#ledger.acknowledged(write, answer.revision);
      this.#learn(key, answer.revision);
      return;
    }
    this.#ledger.withoutEffect(write);
    const { current, revision } = answer;
    const modRevision = current?.modRevision ?? 0;
    this.#ledger.read({ key, floor: write.floor, revision, modRevision, value: current?.value });
    this.#learn(key, modRevision);
  }

  /** Answers may overtake each other: the newest revision wins, 0 only when nothing was known. */
  #learn(key: string, modRevision: number): void {
    if (modRevision > (this.#sharedRevision.get(key) ?? 0)) this.#sharedRevision.set(key, modRevision);
  }

  async #delete(client: GrpcClient): Promise<void> {
    const position = this.#prng.nextBelow(this.#deletable.length);
    const [key] = this.#deletable.splice(position, 1);
    const write = this.#ledger.begin('delete', key!, 0);
    const { revision, removed } = await remove(client, key!);
    if (removed) this.#ledger.acknowledged(write, revision);
    else this.#ledger.violations.push(`acknowledged key ${key} was absent when it was deleted at ${revision}`);
  }

  async #compact(client: GrpcClient): Promise<void> {
    // Only what was accounted for: the next check asks for everything newer by revision.
    const revision = this.#ledger.verifiedRevision;
    if (revision <= Math.max(this.#ledger.compactRevision, 1)) return;
    this.#ledger.compactRevision = revision;
    await compact(client, revision);
  }

  async #read(client: GrpcClient): Promise<void> {
    const isShared = this.#lastKey === '' || this.#prng.nextBelow(2) === 0;
    const key = isShared ? `${sharedPrefix}${this.#prng.nextBelow(this.#options.sharedKeys)}` : this.#lastKey;
    const floor = this.#ledger.seenRevision;
    const { revision, pairs } = await range(client, key);
    const [pair] = pairs;
    this.#ledger.read({ key, floor, revision, modRevision: pair?.modRevision ?? 0, value: pair?.value });
  }

  /** Mostly small; some span pages, so that a write can be torn in its middle. */
  #size(): number {
    const choice = this.#prng.nextBelow(100);
    if (choice < 80) return 16 + this.#prng.nextBelow(300);
    return choice < 98 ? 300 + this.#prng.nextBelow(4_000) : 4_000 + this.#prng.nextBelow(40_000);
  }
}
