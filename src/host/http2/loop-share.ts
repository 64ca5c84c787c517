/**
 * What share of the event loop one connection may take for what it sends in bulk.
 *
 *     work 0.2 ms | rest 0.6 ms | work 0.2 ms | rest 0.6 ms | …       restRatio 3
 *
 * A client that uploads as fast as it can, and whose bytes come to nothing (a body that is refused, messages that are
 * never whole), would otherwise keep the loop, the collector behind it and half of a small machine busy for ever. What
 * is worth sending is slowed down by the log long before: a quarter of the loop takes in 200 megabytes a second.
 *
 * Time that passes while the connection sends nothing counts as rest.
 */
import { assert } from '../../base/assert.js';

/** Timers are no finer: shorter rests are saved up. */
const restMsMin = 1;

export class LoopShare {
  readonly #restRatio: number;
  #owedMs = 0;
  #endedMs = 0;

  /** The connection is to rest so many times as long as it works. */
  constructor(restRatio: number) {
    this.#restRatio = restRatio;
  }

  /** Work was done from the one moment to the other, in monotonic milliseconds. Returns how long to rest; 0: not yet. */
  rest(beganMs: number, endedMs: number): number {
    assert(beganMs >= this.#endedMs && endedMs >= beganMs, 'loop share: time goes on', { beganMs, endedMs });
    this.#owedMs = Math.max(0, this.#owedMs - (beganMs - this.#endedMs)) + this.#restRatio * (endedMs - beganMs);
    this.#endedMs = endedMs;
    return this.#owedMs < restMsMin ? 0 : this.#owedMs;
  }
}
