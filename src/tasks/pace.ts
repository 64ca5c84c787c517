/**
 * How a computation of a tenth of a second stays out of the way of those who share its processor.
 *
 *     alone     ─work──work──work──work──work─>                 slices of a millisecond
 *     company   ─work──  put aside  ──work─ rest ─work─ rest ─>  as long a rest as the work was
 *
 * A scheduler lets even a thread that has stepped back go on for some milliseconds before it looks at who woke up
 * meanwhile: to sleep by itself after one keeps nobody waiting for longer. Whether there is anybody shows in the clock:
 * the rounds of the computation are all alike, so a slice that took much longer than its rounds do was put aside for
 * others. Whoever they are: members, the main thread, another process; with a processor to itself it never rests.
 */

/** What a paced job has of the world. */
export interface Surroundings {
  /** A clock, in milliseconds. */
  readonly nowMs: () => number;
  /** Blocks the thread. */
  readonly rest: (durationMs: number) => void;
}

const sliceMs = 1;
/** How much longer than its rounds a slice takes that was put aside; caches and clock rates make for a quarter. */
const putAside = 1.5;
/**
 * Of the time lately spent, what others take at least when there is company. Seen on two processors: a thirtieth alone, a
 * tenth beside forty puts a second, a quarter and more beside clients that put without pause.
 */
const companyShare = 0.2;
/** What a slice still counts for when the next is over: lately means the last twenty or so. */
const remembered = 0.95;

/** The pace of one computation. */
export class Pace {
  #sinceMs: number;
  #rounds = 0;
  /** Of one round, in the quickest slice. */
  #roundMs = Number.POSITIVE_INFINITY;
  /** Lately spent, and how much of it by others. It begins as if alone for long: one mishap is no company. */
  #spentMs = sliceMs / (1 - remembered);
  #asideMs = 0;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** After each round: how long to rest now, in milliseconds; mostly zero. Who rests says so with `goOn`. */
  restMsAfterRound(nowMs: number): number {
    this.#rounds += 1;
    const tookMs = nowMs - this.#sinceMs;
    if (tookMs < sliceMs) return 0;
    this.#roundMs = Math.min(this.#roundMs, tookMs / this.#rounds);
    const workMs = this.#rounds * this.#roundMs;
    this.#spentMs = this.#spentMs * remembered + tookMs;
    this.#asideMs = this.#asideMs * remembered + (tookMs > workMs * putAside ? tookMs - workMs : 0);
    this.goOn(nowMs);
    return this.#asideMs > this.#spentMs * companyShare ? workMs : 0;
  }

  /** A slice begins. */
  goOn(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#rounds = 0;
  }
}

/**
 * Runs a job that asks for the time after each of its rounds, and has it rest when it does.
 *
 * bcryptjs has no better place: it lets others in after 100 ms, which is a whole comparison, and only in its promises'
 * form. But it asks `Date.now()` after each round, every tenth of a millisecond. So that clock is replaced, in a thread
 * that does nothing else, for the length of this call; nothing else runs meanwhile, and the time it says is true.
 */
export function paced<Value>(job: () => Value, { nowMs, rest }: Surroundings): Value {
  const clock = Date.now;
  const pace = new Pace(nowMs());
  Date.now = () => {
    const restMs = pace.restMsAfterRound(nowMs());
    if (restMs > 0) {
      rest(restMs);
      pace.goOn(nowMs());
    }
    return clock();
  };
  try {
    return job();
  } finally {
    Date.now = clock;
  }
}
