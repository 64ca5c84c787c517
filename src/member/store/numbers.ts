/**
 * Fixed-width numbers in our own files: little-endian in values (read by us alone), big-endian in keys (so that the
 * order of the bytes is the order of the numbers). Indexes, terms, revisions and sequences are safe integers; they are
 * written as two 32-bit halves because bigint on a hot path costs an allocation each.
 */
import { assert } from '../../base/assert.js';

const HALF = 0x1_0000_0000;

/** Writes the safe integer `value` as 8 bytes, little-endian. */
export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, (value / HALF) >>> 0, true);
}

/** Reads 8 bytes, little-endian. Asserts a safe integer: the caller has verified the checksum before. */
export function getUint64(view: DataView, at: number): number {
  const value = view.getUint32(at + 4, true) * HALF + view.getUint32(at, true);
  assert(Number.isSafeInteger(value), 'stored number is not a safe integer', { value });
  return value;
}

/** Writes the safe integer `value` as 8 bytes, big-endian: for keys. */
export function setKeyUint64(target: Uint8Array, at: number, value: number): void {
  const high = (value / HALF) >>> 0;
  const low = value >>> 0;
  target[at] = high >>> 24;
  target[at + 1] = high >>> 16;
  target[at + 2] = high >>> 8;
  target[at + 3] = high;
  target[at + 4] = low >>> 24;
  target[at + 5] = low >>> 16;
  target[at + 6] = low >>> 8;
  target[at + 7] = low;
}

/** Reads 8 bytes, big-endian. */
export function getKeyUint64(source: Uint8Array, at: number): number {
  const high = source[at]! * 0x1000000 + ((source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!);
  const low = source[at + 4]! * 0x1000000 + ((source[at + 5]! << 16) | (source[at + 6]! << 8) | source[at + 7]!);
  return high * HALF + low;
}

/** A view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
