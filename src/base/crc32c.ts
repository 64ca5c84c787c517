/**
 * CRC-32C (Castagnoli): the checksum of etcd's logs and of HashKV, and of our own records.
 *
 * Parameters (RFC 3720 §12.1, appendix B.4): reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF.
 * The check value of the ASCII digits '123456789' is 0xE3069283.
 *
 * Many bytes a step ("slicing"): table[k][b] is the checksum of byte b followed by k zero bytes, so that the lookups of
 * one step do not depend on each other. Short inputs are summed up here, 8 bytes a step; long ones are copied into a
 * WebAssembly module's memory (crc32c-module.ts) and go 16 bytes a step. Measured on one core, Node 20:
 *
 *     bytes              64      256     1 KiB   4 KiB    64 KiB
 *     here, 8 a step     0.8     0.9     1.0     1.0      1.05 GB/s      (16 a step: no faster)
 *     module, 16 a step  0.65    1.5     2.1     2.1      2.2 GB/s       (8 a step: 1.4)
 *
 * Invariant: crc32c(a ‖ b) === crc32c(b, crc32c(a)), for every split.
 *
 * A checksum is linear in what came before: crc32c(b, p) ^ crc32c(b, q) is (p ^ q) moved on by the length of b, which is
 * a multiplication by x^(8 · length) modulo the polynomial. So the sum of bytes that were summed up once is known for
 * every other `previous` without looking at them again (crc32cBehind): 0.05 µs for each byte of the length.
 */
import { STEP_BYTES, startModule, TABLE_BYTES, WINDOW_AT, WINDOW_BYTES } from './crc32c-module.js';

const POLYNOMIAL_REFLECTED = 0x82f63b78;
/** From here on copying and calling are cheaper than what they save. */
const LONG_BYTES_MIN = 128;

const table = buildTable();

/** Sums up bytes, whose number is a multiple of STEP_BYTES; the registers are inverted checksums. */
type Long = (bytes: Uint8Array, register: number) => number;
/** Made for the first long input: a thread that has none does not pay for it. */
let long: Long | undefined;

/**
 * The checksum of `bytes` as an unsigned 32-bit number. `previous` is the checksum of what came before them: a long
 * input may be given in pieces.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  if (bytes.length < LONG_BYTES_MIN) return ~short(bytes, 0, ~previous) >>> 0;
  long ??= createLong();
  const end = bytes.length - (bytes.length % STEP_BYTES);
  let register = ~previous;
  for (let at = 0; at < end; at += WINDOW_BYTES) {
    register = long(bytes.length <= WINDOW_BYTES ? bytes : bytes.subarray(at, at + WINDOW_BYTES), register);
  }
  return ~short(bytes, end, register) >>> 0;
}

/**
 * crc32c(bytes, previous), of bytes that are not at hand: `checksum` is crc32c(bytes, formerPrevious), `length` their
 * number.
 */
export function crc32cBehind(previous: number, checksum: number, formerPrevious: number, length: number): number {
  powers ??= buildPowers();
  let difference = previous ^ formerPrevious;
  for (let rest = length, level = 0; rest > 0; rest >>>= 8, level += 256) {
    if ((rest & 0xff) !== 0) difference = multiply(difference, powers[level + (rest & 0xff)]!);
  }
  return (checksum ^ difference) >>> 0;
}

/** x^(8 · byte · 256^level) at [level * 256 + byte]; made when first used. */
let powers: Int32Array | undefined;

function buildPowers(): Int32Array {
  const entries = new Int32Array(4 * 256);
  let factor = 1 << 23;
  for (let at = 0; at < entries.length; at += 256) {
    // The highest bit is x^0.
    entries[at] = 1 << 31;
    for (let byte = 1; byte < 256; byte += 1) entries[at + byte] = multiply(entries[at + byte - 1]!, factor);
    factor = multiply(entries[at + 255]!, factor);
  }
  return entries;
}

/** The product modulo the polynomial. */
function multiply(left: number, right: number): number {
  let product = 0;
  let shifted = right;
  for (let bit = 31; bit >= 0; bit -= 1) {
    product ^= shifted & -((left >>> bit) & 1);
    shifted = (shifted >>> 1) ^ (POLYNOMIAL_REFLECTED & -(shifted & 1));
  }
  return product;
}

function createLong(): Long {
  const { memory, sum } = startModule();
  new Int32Array(memory.buffer, 0, table.length).set(table);
  const window = new Uint8Array(memory.buffer, WINDOW_AT, WINDOW_BYTES);
  return (bytes, register) => {
    window.set(bytes);
    return sum(WINDOW_AT, WINDOW_AT + bytes.length - (bytes.length % STEP_BYTES), register);
  };
}

/** Of the bytes from `at` on. */
function short(bytes: Uint8Array, from: number, register: number): number {
  const end = bytes.length;
  const endOfSteps = end - ((end - from) & 7);
  let crc = register;
  let at = from;
  while (at < endOfSteps) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      table[1792 + (crc & 0xff)]! ^
      table[1536 + ((crc >>> 8) & 0xff)]! ^
      table[1280 + ((crc >>> 16) & 0xff)]! ^
      table[1024 + (crc >>> 24)]! ^
      table[768 + bytes[at + 4]!]! ^
      table[512 + bytes[at + 5]!]! ^
      table[256 + bytes[at + 6]!]! ^
      table[bytes[at + 7]!]!;
    at += 8;
  }
  while (at < end) {
    crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 0xff]!;
    at += 1;
  }
  return crc;
}

/** STEP_BYTES tables of 256 entries one behind the other. */
function buildTable(): Int32Array {
  const entries = new Int32Array((STEP_BYTES * TABLE_BYTES) / 4);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL_REFLECTED : crc >>> 1;
    entries[byte] = crc;
  }
  for (let at = 256; at < entries.length; at += 1) {
    const shorter = entries[at - 256]!;
    entries[at] = (shorter >>> 8) ^ entries[shorter & 0xff]!;
  }
  return entries;
}
