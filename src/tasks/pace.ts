/**
 * How a computation of a tenth of a second stays out of the way of those who share its processor.
 *
 *     work 1 ms | rest 1 ms | work 1 ms | rest 1 ms | …
 *
 * A scheduler lets even a thread that has stepped back go on for some milliseconds before it looks at who woke up
 * meanwhile: to sleep by itself after one keeps nobody waiting for longer.
 */

/** What a paced job has of the world. */
export interface Surroundings {
  /** A clock, in milliseconds. */
  readonly nowMs: () => number;
  /** Blocks the thread. */
  readonly rest: (durationMs: number) => void;
}

const sliceMs = 1;

/**
 * Runs a job that asks for the time after each of its rounds, and has it rest when it does.
 *
 * bcryptjs has no better place: it lets others in after 100 ms, which is a whole comparison, and only in its promises'
 * form. But it asks `Date.now()` after each round, every tenth of a millisecond. So that clock is replaced, in a thread
 * that does nothing else, for the length of this call; nothing else runs meanwhile, and the time it says is true.
 */
export function paced<Value>(job: () => Value, { nowMs, rest }: Surroundings): Value {
  const clock = Date.now;
  let sinceMs = nowMs();
  Date.now = () => {
    if (nowMs() - sinceMs >= sliceMs) {
      rest(sliceMs);
      sinceMs = nowMs();
    }
    return clock();
  };
  try {
    return job();
  } finally {
    Date.now = clock;
  }
}
