/**
 * The receiving end of a state's stream: frames in, whole tuples out, in the order of the tree.
 *
 * Invariants: frames come in sequence and whole; keys ascend; finish() returns only when everything that was sent has
 * come. Memory: one frame, or the longest tuple.
 */
import { compareBytes } from '../../base/bytes.js';
import { viewOf } from '../store/numbers.js';
import { FIRST_KEY } from '../store/schema.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import { decodeEnd, FrameKind, openFrame, type StreamEnd, streamChecksum, TUPLE_HEADER_BYTES } from './frame.js';

/** Key and value are the visitor's to keep. */
export type TupleVisitor = (key: Uint8Array, value: Uint8Array) => void;

export class TupleStream {
  readonly #visit: TupleVisitor;
  /** Bytes of the stream that do not make a whole tuple yet. */
  #carry: Uint8Array[] = [];
  #carryBytes = 0;
  /** Length of the tuple that the carried bytes begin, as far as it is known. */
  #awaitedBytes = TUPLE_HEADER_BYTES;
  #lastKey: Uint8Array = FIRST_KEY;
  #sequence = 0;
  #tuples = 0;
  #checksum = 0;
  #end: StreamEnd | undefined;

  constructor(visit: TupleVisitor) {
    this.#visit = visit;
  }

  /** Takes the next frame; it is copied as far as needed. Throws StorageError `corrupt`. */
  write(frame: Uint8Array): void {
    const { kind, payload } = openFrame(frame, this.#sequence);
    if (this.#end !== undefined) throw brokenStream('a frame after the end');
    this.#sequence += 1;
    if (kind === FrameKind.End) this.#end = decodeEnd(payload);
    else if (kind === FrameKind.Data) {
      this.#checksum = streamChecksum(frame, this.#checksum);
      this.#takeBytes(payload);
    } else throw brokenStream(`a frame of unknown kind ${kind}`);
  }

  /** The stream is over. Throws StorageError `corrupt` when a part is missing. */
  finish(): StreamEnd {
    const end = this.#end;
    if (end === undefined || this.#carryBytes > 0) throw brokenStream('it ends early');
    if (end.tuples !== this.#tuples || end.checksum !== this.#checksum) {
      throw brokenStream(`${this.#tuples} entries arrived where ${end.tuples} were sent, or their checksum differs`);
    }
    return end;
  }

  #takeBytes(payload: Uint8Array): void {
    this.#carry.push(payload.slice());
    this.#carryBytes += payload.length;
    if (this.#carryBytes < this.#awaitedBytes) return;
    const bytes = this.#carry.length === 1 ? this.#carry[0]! : joined(this.#carry, this.#carryBytes);
    const rest = this.#takeTuples(bytes);
    this.#carry = rest.length > 0 ? [rest] : [];
    this.#carryBytes = rest.length;
    this.#awaitedBytes = tupleBytes(rest);
  }

  /** Takes all whole tuples; returns what is left. */
  #takeTuples(bytes: Uint8Array): Uint8Array {
    let rest = bytes;
    for (;;) {
      const length = tupleBytes(rest);
      if (rest.length < length) return rest;
      const keyEnd = TUPLE_HEADER_BYTES + viewOf(rest).getUint16(0, true);
      const key = rest.subarray(TUPLE_HEADER_BYTES, keyEnd);
      if (compareBytes(key, this.#lastKey) <= 0) throw brokenStream('its keys do not ascend');
      this.#lastKey = key;
      this.#tuples += 1;
      this.#visit(key, rest.subarray(keyEnd, length));
      rest = rest.subarray(length);
    }
  }
}

export function brokenStream(what: string): StorageError {
  return new StorageError(StorageErrorKind.Corrupt, `the received state cannot be used: ${what}`);
}

/** Length of the tuple that begins here, as far as the bytes tell. */
function tupleBytes(bytes: Uint8Array): number {
  if (bytes.length < TUPLE_HEADER_BYTES) return TUPLE_HEADER_BYTES;
  const view = viewOf(bytes);
  return TUPLE_HEADER_BYTES + view.getUint16(0, true) + view.getUint32(2, true);
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
