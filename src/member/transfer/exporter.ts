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
import { viewOf } from '../store/numbers.js';
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
    if (used < FRAME_BYTES_MAX) {
      this.#view.scan(this.#lastKey, END_KEY, (key, value) => {
        if (compareBytes(key, this.#lastKey) <= 0 || compareBytes(key, STAMP_KEY) === 0) return true;
        this.#lastKey = key;
        this.#tuples += 1;
        used = this.#take(frame, used, tupleOf(key, value));
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

function tupleOf(key: Uint8Array, value: Uint8Array): Uint8Array {
  const tuple = new Uint8Array(TUPLE_HEADER_BYTES + key.length + value.length);
  const view = viewOf(tuple);
  view.setUint16(0, key.length, true);
  view.setUint32(2, value.length, true);
  tuple.set(key, TUPLE_HEADER_BYTES);
  tuple.set(value, TUPLE_HEADER_BYTES + key.length);
  return tuple;
}
