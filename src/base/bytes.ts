/**
 * Small helpers over Uint8Array: order, equality, hex, UTF-8 and big-endian 64-bit integers.
 *
 * Nothing here copies unless its name says so. A 64-bit integer is a number where the caller knows that it is a safe
 * integer (indexes, terms, revisions) and a bigint where all 64 bits count (member, cluster and lease ids).
 */
import { assert } from './assert.js';

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

const TWO_TO_32 = 4_294_967_296;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Byte-wise order, a proper prefix first: negative, zero or positive. */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    const difference = (left[i] as number) - (right[i] as number);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) {
    if (left[i] !== right[i]) return false;
  }
  return true;
}

/** One new array with the parts behind each other. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Copies `source` to `target` at `offset`; a loop beats `set` for short arrays. */
export function copyBytes(source: Uint8Array, target: Uint8Array, offset: number): void {
  const length = source.length;
  if (length > 16) {
    target.set(source, offset);
  } else {
    for (let i = 0; i < length; i++) target[offset + i] = source[i] as number;
  }
}

/** Lower-case hex, two digits a byte. */
export function bytesToHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0');
  return hex;
}

/** Inverse of bytesToHex; blanks are allowed between bytes. Asserts that the text is hex. */
export function hexToBytes(hex: string): Uint8Array {
  const digits = hex.replaceAll(' ', '');
  assert(/^([0-9a-f]{2})*$/i.test(digits), 'not hexadecimal', { hex });
  const bytes = new Uint8Array(digits.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function utf8Encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Writes the text's UTF-8 at `offset` and returns its length; `target` has room for three bytes a UTF-16 unit. */
export function utf8EncodeInto(text: string, target: Uint8Array, offset: number): number {
  return encoder.encodeInto(text, target.subarray(offset)).written;
}

/** The text in bytes[start, end), or undefined when it is not valid UTF-8. Works on shared memory too. */
export function utf8Decode(bytes: Uint8Array, start = 0, end = bytes.length): string | undefined {
  if (end - start <= 64) {
    const ascii = asciiDecode(bytes, start, end);
    if (ascii !== undefined) return ascii;
  }
  const view = bytes.subarray(start, end);
  try {
    // TextDecoder refuses shared memory.
    return decoder.decode(bytes.buffer instanceof SharedArrayBuffer ? new Uint8Array(view) : view);
  } catch {
    return undefined;
  }
}

function asciiDecode(bytes: Uint8Array, start: number, end: number): string | undefined {
  let text = '';
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (byte > 0x7f) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Writes a non-negative safe integer as 8 bytes, most significant first. */
export function writeUint64BE(target: Uint8Array, offset: number, value: number): void {
  writeUint32BE(target, offset, Math.floor(value / TWO_TO_32));
  writeUint32BE(target, offset + 4, value >>> 0);
}

/** Reads 8 bytes as a number; asserts that it is a safe integer. */
export function readUint64BE(source: Uint8Array, offset: number): number {
  const value = readUint32BE(source, offset) * TWO_TO_32 + readUint32BE(source, offset + 4);
  assert(Number.isSafeInteger(value), 'a 64-bit integer is beyond the safe range', { value });
  return value;
}

/** Writes the low 64 bits of `value`, most significant byte first. */
export function writeBigUint64BE(target: Uint8Array, offset: number, value: bigint): void {
  writeUint32BE(target, offset, Number((value >> 32n) & 0xffff_ffffn));
  writeUint32BE(target, offset + 4, Number(value & 0xffff_ffffn));
}

export function readBigUint64BE(source: Uint8Array, offset: number): bigint {
  return (BigInt(readUint32BE(source, offset)) << 32n) | BigInt(readUint32BE(source, offset + 4));
}

function writeUint32BE(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}

function readUint32BE(source: Uint8Array, offset: number): number {
  const high = ((source[offset] as number) << 24) | ((source[offset + 1] as number) << 16);
  return (high | ((source[offset + 2] as number) << 8) | (source[offset + 3] as number)) >>> 0;
}
