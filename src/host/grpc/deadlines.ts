/**
 * Deadlines of many calls on one coarse clock: a wheel of slots, each a ring of the entries that fall due in it.
 *
 *     tick t -> slot t mod slots -> entries whose dueTick <= t fire, the others stay for a later turn of the wheel
 *
 * Adding and removing cost a few pointer writes, and only the slots that time passes over are looked at. An entry fires
 * at most one tick late and never early. Pure: time comes in through `advance`.
 */
import { assert } from '../../base/assert.js';

/** Something with a deadline. The fields belong to the wheel. */
export interface DeadlineEntry {
  deadlineTick: number;
  deadlineNext: DeadlineEntry | undefined;
  deadlinePrevious: DeadlineEntry | undefined;
  deadlinePassed(): void;
}

const slotsCount = 512;

export class Deadlines {
  readonly #slots = new Array<DeadlineEntry | undefined>(slotsCount);
  readonly #tickMs: number;
  /** The last tick that was looked at. */
  #tick: number;
  #size = 0;

  /** `tickMs` is how coarse the wheel is; call `advance` about that often while `size` > 0. */
  constructor(tickMs: number, nowMs: number) {
    this.#tickMs = tickMs;
    this.#tick = Math.floor(nowMs / tickMs);
  }

  get size(): number {
    return this.#size;
  }

  /** Adds an entry that falls due at `dueMs`; not earlier than the next tick. */
  add(entry: DeadlineEntry, dueMs: number): void {
    assert(entry.deadlineTick === 0, 'an entry stands in the wheel already', { tick: entry.deadlineTick });
    const tick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#tick + 1);
    const slot = tick % slotsCount;
    const first = this.#slots[slot];
    entry.deadlineTick = tick;
    entry.deadlineNext = first;
    entry.deadlinePrevious = undefined;
    if (first !== undefined) first.deadlinePrevious = entry;
    this.#slots[slot] = entry;
    this.#size += 1;
  }

  /** Takes an entry out; nothing happens when it is not in. */
  remove(entry: DeadlineEntry): void {
    if (entry.deadlineTick === 0) return;
    const { deadlineNext: next, deadlinePrevious: previous } = entry;
    if (next !== undefined) next.deadlinePrevious = previous;
    if (previous !== undefined) previous.deadlineNext = next;
    else this.#slots[entry.deadlineTick % slotsCount] = next;
    entry.deadlineTick = 0;
    entry.deadlineNext = undefined;
    entry.deadlinePrevious = undefined;
    this.#size -= 1;
  }

  /** Fires what is due by `nowMs`. Entries may add and remove others meanwhile. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.#tickMs);
    if (target <= this.#tick) return;
    const first = Math.max(this.#tick + 1, target - slotsCount + 1);
    this.#tick = target;
    for (let tick = first; tick <= target; tick += 1) {
      for (const entry of this.#due(tick % slotsCount, target)) {
        if (entry.deadlineTick === 0) continue; // an entry before it took it out
        this.remove(entry);
        entry.deadlinePassed();
      }
    }
  }

  #due(slot: number, target: number): DeadlineEntry[] {
    const due: DeadlineEntry[] = [];
    for (let entry = this.#slots[slot]; entry !== undefined; entry = entry.deadlineNext) {
      if (entry.deadlineTick <= target) due.push(entry);
    }
    return due;
  }
}
