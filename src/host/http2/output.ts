/**
 * Bytes on their way to a socket: frames are written one behind the other into segments.
 *
 *     full segments, in order | current segment [ written ... at | free ... ]
 *
 * A segment belongs to the buffer until `take`, then to whoever writes it to the socket, who gives it back to the pool.
 * A frame never spans two segments: `reserve` starts a new one instead.
 *
 * The first segment of a batch is small if the batch before was: one event for each of a thousand connections must not
 * need a thousand large segments at once (measured: a quarter of the main thread's time).
 */
import { assert } from '../../base/assert.js';

export const segmentBytes = 64 * 1024;
const smallSegmentBytes = 2 * 1024;

/** A filled segment: `bytes[0, length)`. */
export interface Segment {
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** Keeps a few segments for reuse. One pool serves all connections of a thread. */
export class SegmentPool {
  readonly #large: Uint8Array[] = [];
  readonly #small: Uint8Array[] = [];
  readonly #keptBytes: number;

  /** Keeps up to `keptBytes` of segments of each size. */
  constructor(keptBytes: number) {
    this.#keptBytes = keptBytes;
  }

  take(large: boolean): Uint8Array {
    return large
      ? (this.#large.pop() ?? new Uint8Array(segmentBytes))
      : (this.#small.pop() ?? new Uint8Array(smallSegmentBytes));
  }

  give(bytes: Uint8Array): void {
    const isLarge = bytes.length === segmentBytes;
    assert(isLarge || bytes.length === smallSegmentBytes, 'segment of a foreign size', { bytes: bytes.length });
    const free = isLarge ? this.#large : this.#small;
    if (free.length * bytes.length < this.#keptBytes) free.push(bytes);
  }
}

const none = new Uint8Array(0);

export class OutputBuffer {
  readonly #pool: SegmentPool;
  #full: Segment[] = [];
  #fullBytes = 0;
  #at = 0;
  /** Of the batch before. */
  #batchBytes = 0;

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
    const isFirst = at === 0;
    this.bytes = this.#pool.take(!isFirst || Math.max(this.#batchBytes, length) > smallSegmentBytes);
    this.#at = length;
    return 0;
  }

  /** Hands all written segments over, in order. */
  take(): Segment[] {
    const segments = this.#full;
    this.#batchBytes = this.length;
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
