/**
 * Which changes of a batch each interest wants, while the batch is told.
 *
 *   interest -> firstHit -> ... -> lastHit       chains in two arrays: an interest that is not hit costs nothing
 */
import type { Interest } from './watcher.js';

const NONE = -1;

export class Hits {
  /** Interests with at least one hit, in the order of their first. */
  readonly touched: Interest[] = [];
  readonly #change: number[] = [];
  readonly #next: number[] = [];

  /** Adds the change at position `at` to what the interest wants. */
  add(interest: Interest, at: number): void {
    const hit = this.#change.push(at) - 1;
    this.#next.push(NONE);
    if (interest.firstHit === NONE) {
      interest.firstHit = hit;
      this.touched.push(interest);
    } else {
      this.#next[interest.lastHit] = hit;
    }
    interest.lastHit = hit;
  }

  /** Writes the interest's changes to `changes`, ascending, and forgets them. */
  take(interest: Interest, changes: number[]): void {
    changes.length = 0;
    for (let hit = interest.firstHit; hit !== NONE; hit = this.#next[hit]!) changes.push(this.#change[hit]!);
    interest.firstHit = NONE;
    interest.lastHit = NONE;
  }

  /** Ends the batch; everything was taken. */
  clear(): void {
    this.touched.length = 0;
    this.#change.length = 0;
    this.#next.length = 0;
  }
}
