/**
 * A token bucket: so many events at once, so many a second after that.
 *
 *     left += elapsed * perSecond, at most burst; every event takes one
 */
export class Budget {
  readonly #burst: number;
  readonly #perMs: number;
  readonly #clock: () => number;
  #left: number;
  #filledMs: number;

  /** `clock` gives monotonic milliseconds. It is read only when the bucket runs empty. */
  constructor(burst: number, perSecond: number, clock: () => number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1_000;
    this.#clock = clock;
    this.#left = burst;
    this.#filledMs = clock();
  }

  /** Takes one event. False: the budget is spent. */
  spend(): boolean {
    if (this.#left < 1) this.#fill();
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** Gives back events that our own doing caused. */
  allow(events: number): void {
    this.#left = Math.min(this.#burst, this.#left + events);
  }

  #fill(): void {
    const nowMs = this.#clock();
    this.#left = Math.min(this.#burst, this.#left + (nowMs - this.#filledMs) * this.#perMs);
    this.#filledMs = nowMs;
  }
}
