/**
 * What share of the event loop one connection may take for what it sends in bulk.
 *
 *     work 0.2 ms | rest 1.4 ms | work 0.2 ms | rest 1.4 ms | …
 *
 * A client that uploads as fast as it can, and whose bytes come to nothing (a body that is refused, messages that are
 * never whole), would otherwise keep the loop, the collector behind it and half of a small machine busy for ever. What
 * is worth sending is slowed down by the log long before: an eighth of the loop takes in a hundred megabytes a second.
 *
 * Time that passes while the connection sends nothing counts as rest.
 */
import { assert } from '../../base/assert.js';

/** A connection rests so many times as long as it worked. */
const restRatio = 7;
/** Timers are no finer: shorter rests are saved up. */
const restMsMin = 1;

export class LoopShare {
  #owedMs = 0;
  #endedMs = 0;

  /** Work was done from the one moment to the other, in monotonic milliseconds. Returns how long to rest; 0: not yet. */
  rest(beganMs: number, endedMs: number): number {
    assert(beganMs >= this.#endedMs && endedMs >= beganMs, 'loop share: time goes on', { beganMs, endedMs });
    this.#owedMs = Math.max(0, this.#owedMs - (beganMs - this.#endedMs)) + restRatio * (endedMs - beganMs);
    this.#endedMs = endedMs;
    return this.#owedMs < restMsMin ? 0 : this.#owedMs;
  }
}
