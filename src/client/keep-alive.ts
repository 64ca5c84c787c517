/**
 * Keeps the leases of one client alive, all over one stream.
 *
 *   lease:  asked at t0 ---- TTL/3 ----> asked ---- TTL/3 ----> asked ...      lost at: last asked with success + TTL
 *
 * A lease counts from the moment of the request that renewed it, not of the answer: the server cannot let it expire
 * earlier than this side says it is lost. All times are of the monotonic clock; a program that was suspended or blocked
 * for longer than the TTL finds its leases lost when it goes on.
 * An answer that takes longer than TTL/3 means that the server is of no use: the stream is opened anew, elsewhere if
 * there is an elsewhere.
 */
import { Method } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import type { Channel, ClientStream } from './channel.js';
import { ClosedError } from './errors.js';
import { backoffMs, timerMsMax } from './scope.js';

/** One lease's part in it. */
export interface Kept {
  readonly id: bigint;
  /** Heard once, and nothing is renewed after it. */
  lost(how: string): void;
}

interface Entry {
  readonly kept: Kept;
  ttlMs: number;
  /** When the request was sent that last renewed it. */
  renewedAtMs: number;
  /** When the request was sent that has no answer yet. */
  askedAtMs: number | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** Requests a TTL. */
const renewalsPerTtl = 3;

export class LeaseKeeper {
  readonly #channel: Channel;
  readonly #entries = new Map<bigint, Entry>();
  #stream: ClientStream | undefined;
  #retry: NodeJS.Timeout | undefined;
  #attempt = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Keeps a lease that was granted by a request sent at `grantedAtMs` of performance.now(). */
  keep(kept: Kept, ttlSeconds: number, grantedAtMs: number): void {
    const ttlMs = ttlSeconds * 1000;
    const entry: Entry = { kept, ttlMs, renewedAtMs: grantedAtMs, askedAtMs: undefined, timer: undefined };
    this.#entries.set(kept.id, entry);
    this.#schedule(entry, grantedAtMs + ttlMs / renewalsPerTtl);
  }

  /** Renews a lease no more. */
  drop(id: bigint): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    this.#entries.delete(id);
    if (this.#entries.size > 0) return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  #schedule(entry: Entry, atMs: number): void {
    clearTimeout(entry.timer);
    const dueMs = Math.min(atMs, entry.renewedAtMs + entry.ttlMs);
    const delayMs = Math.min(Math.max(dueMs - performance.now(), 0), timerMsMax);
    entry.timer = setTimeout(() => this.#due(entry), delayMs);
  }

  #due(entry: Entry): void {
    const nowMs = performance.now();
    // A timer may ring a fraction of a millisecond early.
    if (nowMs + 1 >= entry.renewedAtMs + entry.ttlMs) return this.#lose(entry, 'it could not be renewed in time');
    if (entry.askedAtMs === undefined) this.#ask(entry, nowMs);
    else this.#reopen(true);
    this.#schedule(entry, nowMs + entry.ttlMs / renewalsPerTtl);
  }

  #ask(entry: Entry, nowMs: number): void {
    entry.askedAtMs = nowMs;
    if (this.#retry !== undefined) return;
    if (this.#stream === undefined) this.#reopen(false);
    else this.#stream.send(encode('etcdserverpb.LeaseKeepAliveRequest', { ID: entry.kept.id }));
  }

  /** Opens a new stream and asks there for everything that has no answer. */
  #reopen(elsewhere: boolean): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#stream?.cancel();
    const nowMs = performance.now();
    const listener = {
      message: (bytes: Uint8Array): void => this.#answer(bytes),
      end: (error: Error | undefined): void => this.#ended(error),
    };
    this.#stream = this.#channel.stream(Method.LeaseKeepAlive, listener, { requireLeader: true, elsewhere });
    for (const entry of this.#entries.values()) if (entry.askedAtMs !== undefined) this.#ask(entry, nowMs);
  }

  #answer(bytes: Uint8Array): void {
    const { ID: id, TTL: ttl } = decode('etcdserverpb.LeaseKeepAliveResponse', bytes);
    this.#attempt = 0;
    const entry = this.#entries.get(id);
    if (entry?.askedAtMs === undefined) return;
    if (ttl <= 0n) return this.#lose(entry, 'the server does not know it any more');
    entry.renewedAtMs = entry.askedAtMs;
    entry.askedAtMs = undefined;
    entry.ttlMs = Number(ttl) * 1000;
    this.#schedule(entry, entry.renewedAtMs + entry.ttlMs / renewalsPerTtl);
  }

  #ended(error: Error | undefined): void {
    this.#stream = undefined;
    if (error instanceof ClosedError) {
      for (const entry of [...this.#entries.values()]) this.#lose(entry, 'the client is closed');
      return;
    }
    const delayMs = backoffMs(this.#attempt);
    this.#attempt += 1;
    this.#retry = setTimeout(() => this.#reopen(false), delayMs);
  }

  #lose(entry: Entry, how: string): void {
    this.drop(entry.kept.id);
    entry.kept.lost(how);
  }
}
