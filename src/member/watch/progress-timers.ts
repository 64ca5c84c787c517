/**
 * When the next progress notifications of which stream are due: a wheel of coarse slots.
 *
 *   slots   [ s s ][ ][ s ][ ] ...       a slot is 1/128 of the interval; the wheel covers one interval and a tenth
 *                   ^ cursor             moves with the clock; nothing is looked at but the slots it passes
 *
 * Every stream has a period of its own, up to a tenth longer than the interval, so that not all are due together.
 *
 * Invariant: a stream is in exactly one slot while it has watchers to notify, and in none otherwise. After a long pause
 * the cursor may be more than a lap behind: who is not due yet stays in its slot for the next lap.
 */
import type { Prng } from '../../base/prng.js';
import type { Stream } from './watcher.js';

const SLOTS_PER_INTERVAL = 128;
/** One interval, the jitter, and room for the rounding. */
const SLOTS = 144;
/** With a slot's width of delay it stays below a tenth. */
const JITTER = 0.09;
/** Streams notified in one call. */
const STREAMS_MAX = 256;

export class ProgressTimers {
  readonly #intervalMs: number;
  readonly #slotMs: number;
  readonly #prng: Prng;
  readonly #slots: Set<Stream>[] = Array.from({ length: SLOTS }, () => new Set());
  /** Absolute number of the slot that is passed next. */
  #cursor = 0;
  #count = 0;

  constructor(intervalMs: number, prng: Prng) {
    this.#intervalMs = intervalMs;
    this.#slotMs = intervalMs / SLOTS_PER_INTERVAL;
    this.#prng = prng;
  }

  /** Begins to notify a stream that has no timer. */
  add(stream: Stream, nowMs: number): void {
    if (this.#count === 0) this.#cursor = Math.floor(nowMs / this.#slotMs) + 1;
    this.#count += 1;
    if (stream.notifyIntervalMs === 0) {
      stream.notifyIntervalMs = this.#intervalMs * (1 + JITTER * this.#prng.nextFloat());
    }
    this.#insert(stream, nowMs);
  }

  /** Ends it. A stream without a timer is fine. */
  remove(stream: Stream): void {
    if (stream.timerSlot === -1) return;
    this.#slots[stream.timerSlot % SLOTS]!.delete(stream);
    stream.timerSlot = -1;
    this.#count -= 1;
  }

  /** Visits streams that are due, and sets their timers anew; true when there are more. */
  due(nowMs: number, visit: (stream: Stream) => void): boolean {
    if (this.#count === 0) return false;
    let visits = 0;
    for (; this.#cursor * this.#slotMs <= nowMs; this.#cursor += 1) {
      const slot = this.#slots[this.#cursor % SLOTS]!;
      for (const stream of slot) {
        if (stream.timerSlot * this.#slotMs > nowMs) continue;
        if (visits === STREAMS_MAX) return true;
        visits += 1;
        slot.delete(stream);
        this.#insert(stream, nowMs);
        visit(stream);
      }
    }
    return false;
  }

  #insert(stream: Stream, nowMs: number): void {
    stream.timerSlot = Math.ceil((nowMs + stream.notifyIntervalMs) / this.#slotMs);
    this.#slots[stream.timerSlot % SLOTS]!.add(stream);
  }
}
