/**
 * The receiving end of a state's stream: frames in, whole tuples out, in the order of the tree.
 *
 * Invariants: frames come in sequence and whole; keys ascend; finish() returns only when everything that was sent has
 * come. Memory: one frame, or the longest tuple.
 */
import { compareBytes, EMPTY_BYTES } from '../../base/bytes.js';
import { FIRST_KEY } from '../store/schema.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import { decodeEnd, FrameKind, openFrame, type StreamEnd, streamChecksum, TUPLE_HEADER_BYTES } from './frame.js';

/** Key and value are the visitor's to keep. */
export type TupleVisitor = (key: Uint8Array, value: Uint8Array) => void;

export class TupleStream {
  readonly #visit: TupleVisitor;
  /** The beginning of a tuple that ended with its frame, and how much of it has come. */
  #carry: Uint8Array = EMPTY_BYTES;
  #carriedBytes = 0;
  #lastKey: Uint8Array = FIRST_KEY;
  #sequence = 0;
  #tuples = 0;
  #checksum = 0;
  #end: StreamEnd | undefined;

  constructor(visit: TupleVisitor) {
    this.#visit = visit;
  }

  /** Takes the next frame, which nobody changes any more: tuples are views of it. Throws StorageError `corrupt`. */
  write(frame: Uint8Array): void {
    const { kind, payload } = openFrame(frame, this.#sequence);
    if (this.#end !== undefined) throw brokenStream('a frame after the end');
    this.#sequence += 1;
    if (kind === FrameKind.End) this.#end = decodeEnd(payload);
    else if (kind === FrameKind.Data) {
      this.#checksum = streamChecksum(frame, this.#checksum);
      this.#takeTuples(this.#completeCarried(payload));
    } else throw brokenStream(`a frame of unknown kind ${kind}`);
  }

  /** The stream is over. Throws StorageError `corrupt` when a part is missing. */
  finish(): StreamEnd {
    const end = this.#end;
    if (end === undefined || this.#carriedBytes > 0) throw brokenStream('it ends early');
    if (end.tuples !== this.#tuples || end.checksum !== this.#checksum) {
      throw brokenStream(`${this.#tuples} entries arrived where ${end.tuples} were sent, or their checksum differs`);
    }
    return end;
  }

  /** Gives the carried tuple what it lacks, as far as that has come. Returns what is behind it. */
  #completeCarried(payload: Uint8Array): Uint8Array {
    let rest = payload;
    while (this.#carriedBytes > 0 && rest.length > 0) {
      // As far as its length is known: first its head, then all of it.
      const wanted = tupleBytes(this.#carry.subarray(0, this.#carriedBytes), 0);
      if (this.#carry.length < wanted) this.#carryIn(new Uint8Array(wanted));
      const part = rest.subarray(0, wanted - this.#carriedBytes);
      this.#carry.set(part, this.#carriedBytes);
      this.#carriedBytes += part.length;
      rest = rest.subarray(part.length);
      const carried = this.#carry.subarray(0, this.#carriedBytes);
      if (tupleBytes(carried, 0) > carried.length) continue;
      this.#carriedBytes = 0;
      this.#carry = EMPTY_BYTES;
      this.#takeTuples(carried);
    }
    return rest;
  }

  #carryIn(larger: Uint8Array): void {
    larger.set(this.#carry.subarray(0, this.#carriedBytes));
    this.#carry = larger;
  }

  /** Takes all whole tuples; what is left waits for the next frame. */
  #takeTuples(bytes: Uint8Array): void {
    let at = 0;
    for (;;) {
      const end = at + tupleBytes(bytes, at);
      if (end > bytes.length) break;
      const keyEnd = at + TUPLE_HEADER_BYTES + (bytes[at]! | (bytes[at + 1]! << 8));
      const key = bytes.subarray(at + TUPLE_HEADER_BYTES, keyEnd);
      if (compareBytes(key, this.#lastKey) <= 0) throw brokenStream('its keys do not ascend');
      this.#lastKey = key;
      this.#tuples += 1;
      this.#visit(key, bytes.subarray(keyEnd, end));
      at = end;
    }
    if (at === bytes.length) return;
    this.#carry = bytes.subarray(at);
    this.#carriedBytes = this.#carry.length;
  }
}

export function brokenStream(what: string): StorageError {
  return new StorageError(StorageErrorKind.Corrupt, `the received state cannot be used: ${what}`);
}

/** Length of the tuple that begins at `at`, or of its head where that has not come. */
function tupleBytes(bytes: Uint8Array, at: number): number {
  if (bytes.length - at < TUPLE_HEADER_BYTES) return TUPLE_HEADER_BYTES;
  const keyLength = bytes[at]! | (bytes[at + 1]! << 8);
  const low = bytes[at + 2]! | (bytes[at + 3]! << 8) | (bytes[at + 4]! << 16);
  return TUPLE_HEADER_BYTES + keyLength + low + bytes[at + 5]! * 0x1000000;
}
