/**
 * Log records that anybody outside can cause: one in a while, with the number of those that were left out.
 *
 *     knock, knock, knock …  -->  a record | nothing for `pauseMs` | the next record says `unlogged: 998`
 *
 * Whoever knocks a thousand times a second does not fill the log.
 */
import type { Logger } from 'pino';

const pauseMs = 1_000;

export class PacedLog {
  readonly #logger: Logger;
  readonly #nowMs: () => number;
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  /** `nowMs` is a clock that never goes back. */
  constructor(logger: Logger, nowMs: () => number = () => performance.now()) {
    this.#logger = logger;
    this.#nowMs = nowMs;
  }

  warn(fields: Readonly<Record<string, unknown>>, message: string): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#loggedAtMs < pauseMs) {
      this.#unlogged += 1;
      return;
    }
    this.#logger.warn({ ...fields, ...(this.#unlogged > 0 ? { unlogged: this.#unlogged } : {}) }, message);
    this.#loggedAtMs = nowMs;
    this.#unlogged = 0;
  }
}
