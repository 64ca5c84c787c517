/**
 * CRC-32C (Castagnoli): the checksum of etcd's logs and of HashKV, and of our own records.
 *
 * Parameters (RFC 3720 §12.1, appendix B.4): reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF.
 * The check value of the ASCII digits '123456789' is 0xE3069283.
 *
 * Eight bytes a step ("slicing by 8"): table[k][b] is the checksum of byte b followed by k zero bytes, so that the
 * eight lookups of one step do not depend on each other.
 *
 * Invariant: crc32c(a ‖ b) === crc32c(b, crc32c(a)), for every split.
 */

const POLYNOMIAL_REFLECTED = 0x82f63b78;
const SLICES = 8;

const table = buildTable();

/**
 * The checksum of `bytes` as an unsigned 32-bit number. `previous` is the checksum of what came before them: a long
 * input may be given in pieces.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  const end = bytes.length;
  const endOfSteps = end - (end & 7);
  let crc = ~previous;
  let at = 0;
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
  return ~crc >>> 0;
}

/** SLICES tables of 256 entries one behind the other. */
function buildTable(): Int32Array {
  const entries = new Int32Array(SLICES * 256);
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
