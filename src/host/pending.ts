/**
 * Requests a member has been sent and has not answered yet.
 *
 * A request id is a slot number (low 20 bits) and that slot's generation (high 12 bits): lookup is an array index, and
 * an answer that comes after its request was cancelled finds another generation and is dropped.
 *
 * Invariant (B2): every waiter that enters leaves exactly once, by `take` or by `drain`.
 */
import { assert } from '../base/assert.js';

const slotBits = 20;
const slotMask = (1 << slotBits) - 1;
const generationCount = 1 << 12;

/** Requests in flight at one member; more than this are refused. */
export const pendingMax = 1 << slotBits;

export class PendingTable<Waiter> {
  readonly #waiters: (Waiter | undefined)[] = [];
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Enters a waiter; returns its request id, or -1 when the table is full. */
  add(waiter: Waiter): number {
    const slot = this.#free.pop() ?? this.#waiters.length;
    if (slot >= pendingMax) return -1;
    if (slot === this.#waiters.length) {
      this.#waiters.push(undefined);
      this.#generations.push(0);
    }
    assert(this.#waiters[slot] === undefined, 'a free slot holds no waiter', { slot });
    this.#waiters[slot] = waiter;
    this.#size += 1;
    return (((this.#generations[slot] as number) << slotBits) | slot) >>> 0;
  }

  /** The waiter of a request, left in place (streams); undefined when it is gone. */
  get(requestId: number): Waiter | undefined {
    const slot = requestId & slotMask;
    return this.#generations[slot] === requestId >>> slotBits ? this.#waiters[slot] : undefined;
  }

  /** Removes and returns the waiter of a request; undefined when it is gone. */
  take(requestId: number): Waiter | undefined {
    const waiter = this.get(requestId);
    if (waiter === undefined) return undefined;
    const slot = requestId & slotMask;
    this.#waiters[slot] = undefined;
    this.#generations[slot] = ((this.#generations[slot] as number) + 1) % generationCount;
    this.#free.push(slot);
    this.#size -= 1;
    return waiter;
  }

  /** Visits every waiter; the visitor may take it. */
  visit(visit: (waiter: Waiter, requestId: number) => void): void {
    for (let slot = 0; slot < this.#waiters.length; slot++) {
      const waiter = this.#waiters[slot];
      if (waiter !== undefined) visit(waiter, (((this.#generations[slot] as number) << slotBits) | slot) >>> 0);
    }
  }

  /** Removes every waiter and hands each to `visit`: the member died. */
  drain(visit: (waiter: Waiter) => void): void {
    this.visit((waiter, requestId) => {
      this.take(requestId);
      visit(waiter);
    });
    assert(this.#size === 0, 'a drained table is empty', { size: this.#size });
  }
}
