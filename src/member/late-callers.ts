/**
 * Calls whose token is newer than this member's state: they wait until the login that gave it is applied here.
 *
 *     log in at one member ─> token `prefix.index` ─> call another one, which has applied less ─> wait ─> go on
 *
 * A token names the index of its login, so that waiting is for something; one that names an index which does not come
 * ends as an unknown token when the time is up. Nobody needs a password for such a token: what may wait is bounded.
 *
 * Invariant: a call that waits keeps everything that follows it, in order; it leaves once.
 */
import type { Caller } from '../transport/caller.js';
import { EnvelopeKind } from '../transport/envelope.js';
import { loginIndexOf } from './auth/simple-tokens.js';

/** What all that waits may hold in memory. */
const waitingBytesMax = 16 * 1024 * 1024;
/** What one record costs beside its payload. */
const recordBytes = 128;

interface Held {
  readonly kind: number;
  readonly aux: number;
  readonly payload: Uint8Array;
  readonly flags: number;
}

interface Waiting {
  readonly index: number;
  readonly sinceMs: number;
  readonly records: Held[];
  bytes: number;
}

/** As MessageHandler of the ring, with the caller's head still on the payload. */
type Handler = (kind: number, aux: number, id: number, payload: Uint8Array, flags: number) => void;

export class LateCallers {
  readonly #waiting = new Map<number, Waiting>();
  #bytes = 0;

  /** How many calls wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Whether a caller's login may be applied later than `appliedIndex`, and there is room to wait for it. */
  mustWait(caller: Caller | undefined, appliedIndex: number): boolean {
    if (caller?.kind !== 'token' || this.#bytes >= waitingBytesMax) return false;
    return (loginIndexOf(caller.text) ?? 0) > appliedIndex;
  }

  /** The Open of a call that must wait; the payload is copied. */
  hold(id: number, caller: Caller, aux: number, payload: Uint8Array, flags: number, nowMs: number): void {
    const waiting = { index: loginIndexOf(caller.text) ?? 0, sinceMs: nowMs, records: [], bytes: 0 };
    this.#waiting.set(id, waiting);
    this.#add(waiting, { kind: EnvelopeKind.Open, aux, payload: Buffer.from(payload), flags });
  }

  /** A later record of the host. True: it is about a call that waits, and waits with it. */
  keeps(kind: number, aux: number, id: number, payload: Uint8Array, flags: number): boolean {
    if (kind === EnvelopeKind.Control) return false; // its id is no call's
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return false;
    if (kind === EnvelopeKind.Cancel) this.#forget(id, waiting);
    else this.#add(waiting, { kind, aux, payload: Buffer.from(payload), flags });
    return true;
  }

  /** Hands on what need not wait any more: its login is applied, or its time is up. */
  release(appliedIndex: number, nowMs: number, timeoutMs: number, handler: Handler): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.index > appliedIndex && nowMs - waiting.sinceMs < timeoutMs) continue;
      this.#forget(id, waiting);
      for (const { kind, aux, payload, flags } of waiting.records) handler(kind, aux, id, payload, flags);
    }
  }

  /** The member stops. */
  failAll(visit: (id: number) => void): void {
    const ids = [...this.#waiting.keys()];
    this.#waiting.clear();
    this.#bytes = 0;
    ids.forEach(visit);
  }

  #add(waiting: Waiting, record: Held): void {
    waiting.records.push(record);
    waiting.bytes += record.payload.length + recordBytes;
    this.#bytes += record.payload.length + recordBytes;
  }

  #forget(id: number, waiting: Waiting): void {
    this.#waiting.delete(id);
    this.#bytes -= waiting.bytes;
  }
}
