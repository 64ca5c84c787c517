/**
 * Keys and ranges as users write them, and as requests carry them: `key` and an exclusive `range_end`.
 *
 *   'a'                       the key a                  range_end empty
 *   { prefix: 'a' }           every key that begins so   range_end = the prefix with its last byte raised
 *   { from: 'a', to: 'c' }    a <= key < c
 *   { from: 'a' }             every key >= a             range_end = one zero byte
 */
import { EMPTY_BYTES, utf8Encode } from '../base/bytes.js';

/** A key or value: text stands for its UTF-8 bytes. */
export type Bytes = string | Uint8Array;

export type Range = Bytes | { readonly prefix: Bytes } | { readonly from: Bytes; readonly to?: Bytes };

const ZERO = new Uint8Array(1);

export function toBytes(text: Bytes): Uint8Array {
  return typeof text === 'string' ? utf8Encode(text) : text;
}

/** The first key of a range and its end. An empty prefix or start is the first possible key, a zero byte. */
export function boundsOf(range: Range): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  if (typeof range === 'string' || range instanceof Uint8Array) return { key: toBytes(range), rangeEnd: EMPTY_BYTES };
  if ('prefix' in range) {
    const prefix = toBytes(range.prefix);
    return { key: prefix.length === 0 ? ZERO : prefix, rangeEnd: prefixEnd(prefix) };
  }
  const from = toBytes(range.from);
  return { key: from.length === 0 ? ZERO : from, rangeEnd: range.to === undefined ? ZERO : toBytes(range.to) };
}

/** The first key behind all that begin with `prefix`; a zero byte, "to the end", when there is none. */
function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let last = prefix.length - 1; last >= 0; last--) {
    const byte = prefix[last] as number;
    if (byte === 0xff) continue;
    const end = prefix.slice(0, last + 1);
    end[last] = byte + 1;
    return end;
  }
  return ZERO;
}
