/**
 * The sending side of a state transfer: a consistent view of the state store at its applied index, read frame by frame.
 *
 * The store is committed first, so that the view is what is on disk; commits that follow do not change it. The view
 * holds a read transaction, which keeps LMDB from reusing pages: close() it as soon as the transfer is over or given
 * up.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import type { View } from '../store/environment.js';
import { END_KEY, FIRST_KEY, STAMP_KEY } from '../store/schema.js';
import type { StateStore } from '../store/state-store.js';
import { encodeEnd, FRAME_HEADER_BYTES, FrameKind, sealFrame, streamChecksum, TUPLE_HEADER_BYTES } from './frame.js';

/** Frames are at most this long, header included. */
export const FRAME_BYTES_MAX = 256 << 10;
const PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
const NO_BYTES = new Uint8Array(0);

export class StateExporter {
  /** The state is as of this entry. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly #view: View;
  #state: 'data' | 'end' | 'over' = 'data';
  #sequence = 0;
  #tuples = 0;
  #checksum = 0;
  /** The scan goes on behind this key. */
  #lastKey: Uint8Array = FIRST_KEY;
  /** What of the last tuple did not fit into the frame before. */
  #rest: Uint8Array = NO_BYTES;
  #closed = false;

  private constructor(store: StateStore) {
    this.appliedIndex = store.appliedIndex;
    this.appliedTerm = store.appliedTerm;
    this.#view = store.holdView();
  }

  /** Commits the store and holds a view of it. Throws StorageError as commit() does. */
  static start(store: StateStore): StateExporter {
    store.commit();
    return new StateExporter(store);
  }

  /** The next frame, the caller's to keep; undefined after the last. One call reads at most one frame's bytes. */
  next(): Uint8Array | undefined {
    assert(!this.#closed, 'state exporter used after close');
    if (this.#state === 'over') return undefined;
    if (this.#state === 'data') {
      const payload = this.#fill();
      if (payload !== undefined) return payload;
    }
    this.#state = 'over';
    const { appliedIndex, appliedTerm } = this;
    return encodeEnd({ tuples: this.#tuples, checksum: this.#checksum, appliedIndex, appliedTerm }, this.#sequence);
  }

  /** Releases the view. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#view.done();
  }

  /** A frame of data; undefined when the stream is at its end. */
  #fill(): Uint8Array | undefined {
    const frame = new Uint8Array(FRAME_BYTES_MAX);
    let used = this.#take(frame, FRAME_HEADER_BYTES, this.#rest);
    // The scan begins with the last key of the frame before; keys ascend.
    let former = this.#lastKey;
    if (used < FRAME_BYTES_MAX) {
      this.#view.scan(former, END_KEY, (key, value) => {
        if (former.length > 0 && compareBytes(key, former) <= 0) return true;
        former = NO_BYTES;
        if (key.length === STAMP_KEY.length && key[0] === STAMP_KEY[0]) return true;
        this.#lastKey = key;
        this.#tuples += 1;
        const end = used + TUPLE_HEADER_BYTES + key.length + value.length;
        if (end <= FRAME_BYTES_MAX) {
          writeTuple(frame, used, key, value);
          used = end;
        } else {
          const tuple = new Uint8Array(end - used);
          writeTuple(tuple, 0, key, value);
          used = this.#take(frame, used, tuple);
        }
        return used < FRAME_BYTES_MAX;
      });
    }
    if (used === FRAME_HEADER_BYTES) return undefined;
    const payload = frame.subarray(FRAME_HEADER_BYTES, used);
    assert(payload.length <= PAYLOAD_BYTES_MAX, 'frame is too long');
    const whole = used === FRAME_BYTES_MAX ? frame : frame.slice(0, used);
    sealFrame(whole, this.#sequence, FrameKind.Data);
    this.#checksum = streamChecksum(whole, this.#checksum);
    this.#sequence += 1;
    return whole;
  }

  /** Copies what fits; the rest waits for the next frame. Returns where the frame is filled up to. */
  #take(frame: Uint8Array, used: number, bytes: Uint8Array): number {
    const fitting = Math.min(bytes.length, FRAME_BYTES_MAX - used);
    frame.set(bytes.subarray(0, fitting), used);
    this.#rest = bytes.subarray(fitting);
    return used + fitting;
  }
}

function writeTuple(target: Uint8Array, at: number, key: Uint8Array, value: Uint8Array): void {
  const { length } = value;
  target[at] = key.length;
  target[at + 1] = key.length >>> 8;
  target[at + 2] = length;
  target[at + 3] = length >>> 8;
  target[at + 4] = length >>> 16;
  target[at + 5] = length >>> 24;
  target.set(key, at + TUPLE_HEADER_BYTES);
  target.set(value, at + TUPLE_HEADER_BYTES + key.length);
}
