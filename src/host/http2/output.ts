/**
 * Bytes on their way to a socket: frames are written one behind the other into segments of one size.
 *
 *     full segments, in order | current segment [ written ... at | free ... ]
 *
 * A segment belongs to the buffer until `take`, then to whoever writes it to the socket, who gives it back to the pool.
 * A frame never spans two segments: `reserve` starts a new one instead.
 */
import { assert } from '../../base/assert.js';

export const segmentBytes = 64 * 1024;

/** A filled segment: `bytes[0, length)`. */
export interface Segment {
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** Keeps a few segments for reuse. One pool serves all connections of a thread. */
export class SegmentPool {
  readonly #free: Uint8Array[] = [];
  readonly #kept: number;

  constructor(kept: number) {
    this.#kept = kept;
  }

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(segmentBytes);
  }

  give(bytes: Uint8Array): void {
    assert(bytes.length === segmentBytes, 'segment of a foreign size', { bytes: bytes.length });
    if (this.#free.length < this.#kept) this.#free.push(bytes);
  }
}

const none = new Uint8Array(0);

export class OutputBuffer {
  readonly #pool: SegmentPool;
  #full: Segment[] = [];
  #fullBytes = 0;
  #at = 0;

  /** The segment that `reserve` hands out places in. */
  bytes: Uint8Array = none;

  constructor(pool: SegmentPool) {
    this.#pool = pool;
  }

  /** Bytes written and not taken. */
  get length(): number {
    return this.#fullBytes + this.#at;
  }

  /**
   * Makes room for `length` bytes in one piece and returns their place in `bytes`, which the caller must fill.
   * `bytes` may be another array afterwards: read it behind the call.
   */
  reserve(length: number): number {
    const at = this.#at;
    if (at + length <= this.bytes.length) {
      this.#at = at + length;
      return at;
    }
    assert(length <= segmentBytes, 'reservation larger than a segment', { length });
    if (at > 0) {
      this.#full.push({ bytes: this.bytes, length: at });
      this.#fullBytes += at;
    }
    this.bytes = this.#pool.take();
    this.#at = length;
    return 0;
  }

  /** Hands all written segments over, in order. */
  take(): Segment[] {
    const segments = this.#full;
    if (this.#at > 0) segments.push({ bytes: this.bytes, length: this.#at });
    this.#full = [];
    this.#fullBytes = 0;
    this.bytes = none;
    this.#at = 0;
    return segments;
  }

  /** Gives everything back unsent. */
  discard(): void {
    for (const segment of this.take()) this.#pool.give(segment.bytes);
  }
}
