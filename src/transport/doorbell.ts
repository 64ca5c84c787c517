/**
 * One doorbell per thread: how a thread that has nothing to do sleeps, and how others wake it.
 *
 * One shared int32 cell:
 *
 *             ring                            ring (+ notify)
 *   AWAKE ------------> RUNG          ARMED -----------------> RUNG
 *     ^                  |              ^                        |
 *     |   wait: undefined|              | wait                   | the wait resolves
 *     +------------------+       AWAKE -+                        +----> AWAKE
 *
 * No wakeup is lost, and nobody has to re-read the rings after arming. A producer publishes and then reads the cell:
 * - it reads AWAKE or ARMED: it writes RUNG, and the next wait (or the sleeping one) ends at once;
 * - it reads RUNG: the owner has not yet gone back to AWAKE. It does so *before* its next drain, and all these accesses
 *   are sequentially consistent, so that drain sees what was published.
 * Hence ring() costs one load while the owner is busy, and a notify (a system call) only when it sleeps.
 *
 * The timeout is a timer of our own and not waitAsync's: V8 posts a task for every wait with a timeout, which costs
 * 7 us of CPU, and our timer 1. A waiter that a timeout left behind is used again by the next wait, so there is never
 * more than one.
 *
 * Neither Atomics.waitAsync nor this timer keeps the thread alive: its owner holds a ref'd handle (a message port with
 * a listener, a server, an interval) for as long as it wants to live. And an owner to whom wait() keeps returning
 * undefined must by itself let its event loop have a turn now and then.
 */
import { assert } from '../base/assert.js';
import { sharedClockMs } from './clock.js';

const AWAKE = 0;
const ARMED = 1;
const RUNG = 2;

/** Where, in Float64s, the ringer that wakes the owner leaves the time (sharedClockMs). */
const RUNG_AT = 1;

/** Node's timers cannot wait longer (24 days). */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The shared cell of a doorbell; may cross to a worker by structured clone. */
export interface DoorbellBuffer {
  readonly memory: SharedArrayBuffer;
}

/** Creates the shared cell of a thread's doorbell. */
export function createDoorbell(): DoorbellBuffer {
  return { memory: new SharedArrayBuffer(128) }; // A cache line pair of its own: see layout.ts.
}

export interface DoorbellOptions {
  /** How often wait() looks at the cell before it sleeps; 0 (the default) pays off unless cores are idle. */
  readonly spinsMax?: number;
}

export class Doorbell {
  readonly #cell: Int32Array;
  readonly #times: Float64Array;
  readonly #spinsMax: number;
  /** V8 holds a waiter on the cell and will call #notified, now or later. */
  #waiter = false;
  /** The last wait was ended by a ring. */
  #rung = false;
  /** Resolves the promise wait() handed out; undefined while the owner is awake. */
  #resolve: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When #timer fires; Infinity without a timer. Milliseconds of performance.now(), as is #wakeAtMs. */
  #timerAtMs = Number.POSITIVE_INFINITY;
  #wakeAtMs = 0;

  /** A view on the cell: the owner uses it to wait, any number of others to ring. */
  constructor(buffer: DoorbellBuffer, options: DoorbellOptions = {}) {
    this.#cell = new Int32Array(buffer.memory);
    this.#times = new Float64Array(buffer.memory);
    this.#spinsMax = options.spinsMax ?? 0;
  }

  /** Wakes the owner if it sleeps; otherwise its next wait() returns at once. Any thread may call it. */
  ring(): void {
    for (;;) {
      // Atomic, so that it is ordered after the caller's publish (a store to the ring's tail).
      const state = Atomics.load(this.#cell, 0);
      if (state === RUNG) return;
      // Compared, so that of several ringers one notifies; a failure means that the state moved on, and we look again.
      if (Atomics.compareExchange(this.#cell, 0, state, RUNG) !== state) continue;
      if (state === ARMED) {
        // The others see RUNG by now: nobody else writes it until the owner sleeps again.
        this.#times[RUNG_AT] = sharedClockMs();
        Atomics.notify(this.#cell, 0);
      }
      return;
    }
  }

  /**
   * For the owner only, once it has found nothing to do. Returns undefined when the bell was rung since the last wait:
   * do not sleep, drain again. Otherwise a promise that resolves when somebody rings or `timeoutMs` have passed,
   * whichever is first; it never rejects, and it may resolve for no reason.
   */
  wait(timeoutMs: number): Promise<void> | undefined {
    assert(this.#resolve === undefined, 'doorbell: the owner waits once at a time');
    assert(timeoutMs >= 0 && timeoutMs <= TIMEOUT_MS_MAX, 'doorbell: timeout out of range', { timeoutMs });
    for (let spin = 0; spin < this.#spinsMax; spin++) {
      // Atomic, so that the loop reads memory each time round.
      if (Atomics.load(this.#cell, 0) === RUNG) break;
    }
    // Compared, so that a ring since the last wait is not overwritten. ARMED here was left by a dead predecessor.
    if (Atomics.compareExchange(this.#cell, 0, AWAKE, ARMED) !== AWAKE) return this.#stayAwake();
    if (!this.#waiter) {
      const result = Atomics.waitAsync(this.#cell, 0, ARMED);
      if (!result.async) return this.#stayAwake(); // Rung between the exchange and here.
      this.#waiter = true;
      result.value.then(this.#notified);
    }
    this.#startTimer(timeoutMs);
    return new Promise(resolve => {
      this.#resolve = resolve;
    });
  }

  /**
   * For the owner only: how long ago the ring was that ended its last wait; undefined when something else ended it. Asked
   * once for each wait.
   */
  takeLatencyMs(): number | undefined {
    const rungMs = this.#times[RUNG_AT] as number;
    if (!this.#rung || rungMs === 0) return undefined;
    this.#rung = false;
    return Math.max(0, sharedClockMs() - rungMs);
  }

  /** Ends a wait of the owner, from its own thread, without a trip through the shared cell. */
  wake(): void {
    const resolve = this.#resolve;
    if (resolve === undefined) return;
    this.#resolve = undefined;
    // Atomic, and before the owner drains: whoever rings from now on finds AWAKE and leaves RUNG behind.
    Atomics.store(this.#cell, 0, AWAKE);
    resolve();
  }

  /** Drops the timer; a pending wait stays pending until somebody rings. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #stayAwake(): undefined {
    // Atomic, and before the owner drains, for the same reason as in wake().
    Atomics.store(this.#cell, 0, AWAKE);
    return undefined;
  }

  readonly #notified = (): void => {
    this.#waiter = false;
    this.#rung = this.#resolve !== undefined;
    this.wake();
  };

  /** Most waits end early and most deadlines repeat (the next tick), so a timer that fires soon enough is kept. */
  #startTimer(timeoutMs: number): void {
    const nowMs = performance.now();
    this.#wakeAtMs = nowMs + timeoutMs;
    if (this.#timerAtMs <= this.#wakeAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = this.#wakeAtMs;
    this.#timer = setTimeout(this.#timedOut, timeoutMs).unref();
  }

  readonly #timedOut = (): void => {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#resolve === undefined) return;
    const restMs = this.#wakeAtMs - performance.now();
    // Node's timers count whole milliseconds and may fire a fraction early.
    if (restMs < 1) this.wake();
    else this.#startTimer(restMs);
  };
}
