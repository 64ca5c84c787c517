/**
 * A thread that stands still, as a process does after SIGSTOP: its event loop does not turn until it is let go on.
 *
 *     CLOSED ──the thread: standStill──> STANDING ──anyone: open──> OPEN
 *        \_________________anyone: open, before the thread came here_______/
 *
 * A gate serves once. The thread is asked by a control verb, so it stands between two turns, never within one.
 */
const CLOSED = 0;
const STANDING = 1;
const OPEN = 2;

export class PauseGate {
  readonly #cell: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.#cell = new Int32Array(buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#cell.buffer as SharedArrayBuffer;
  }

  /** Blocks the calling thread until the gate is open. */
  standStill(): void {
    // Compared, so that an `open` that was quicker is not undone.
    if (Atomics.compareExchange(this.#cell, 0, CLOSED, STANDING) !== CLOSED) return;
    Atomics.notify(this.#cell, 0);
    Atomics.wait(this.#cell, 0, STANDING);
  }

  /** Resolves when the thread stands still, or the gate is open. */
  async stands(): Promise<void> {
    await Atomics.waitAsync(this.#cell, 0, CLOSED).value;
  }

  /** Lets the thread go on. */
  open(): void {
    // Atomic, as the thread sleeps on it.
    Atomics.store(this.#cell, 0, OPEN);
    Atomics.notify(this.#cell, 0);
  }
}
