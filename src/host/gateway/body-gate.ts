/**
 * Keeps what a rim hears of a request until somebody reads it, and sees to it that nothing is heard twice or too late.
 */
import type { CancelReason } from '../grpc/call.js';
import type { BodyListener } from './exchange.js';

export class BodyGate {
  #listener: BodyListener | undefined = undefined;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #ended = false;
  #gone: CancelReason | undefined = undefined;
  #closed = false;

  /** All of the body is here, or no more of it will come. */
  get complete(): boolean {
    return this.#ended || this.#gone !== undefined || this.#closed;
  }

  /** Bytes of the body that somebody may still want and that are not used yet. */
  get heldBytes(): number {
    if (this.complete) return 0;
    return this.#listener === undefined ? this.#heldBytes : this.#listener.heldBytes;
  }

  /** From now on this listener hears everything, beginning with what was held. */
  read(listener: BodyListener): void {
    this.#listener = listener;
    const held = this.#held;
    this.#held = [];
    for (const bytes of held) if (!this.#closed) listener.onData(bytes);
    if (this.#ended && !this.#closed) listener.onEnd();
    if (this.#gone !== undefined && !this.#closed) listener.onGone(this.#gone);
  }

  /** Bytes that are valid during the call. */
  data(bytes: Uint8Array) {
    if (this.complete) return;
    if (this.#listener !== undefined) return this.#listener.onData(bytes);
    this.#held.push(bytes.slice());
    this.#heldBytes += bytes.length;
  }

  end(): void {
    if (this.complete) return;
    this.#ended = true;
    this.#listener?.onEnd();
  }

  gone(reason: CancelReason): void {
    if (this.#closed || this.#gone !== undefined) return;
    this.#gone = reason;
    this.#listener?.onGone(reason);
  }

  drain(): void {
    if (!this.#closed && this.#gone === undefined) this.#listener?.onDrain();
  }

  /** Nothing more is to be heard. */
  close(): void {
    this.#closed = true;
  }
}
