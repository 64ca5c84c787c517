/**
 * Request heads by the exact bytes of their header blocks.
 *
 * A client that repeats itself sends the same few bytes for every call: indices into the HPACK tables. Bytes mean the
 * same as long as the decoder's table is the same, so an entry holds the table's version and counts only under it; only
 * blocks that left the table alone may enter.
 */
import type { RequestHead } from './request-head.js';

const entriesMax = 8;
const blockBytesMax = 256;

interface Entry {
  bytes: Uint8Array;
  length: number;
  version: number;
  head: RequestHead;
}

export class HeadCache {
  readonly #entries: Entry[] = [];
  #next = 0;

  /** The head that `bytes[from, to)` stood for under this table version, or undefined. */
  find(bytes: Uint8Array, from: number, to: number, version: number): RequestHead | undefined {
    const length = to - from;
    for (let index = 0; index < this.#entries.length; index += 1) {
      const entry = this.#entries[index]!;
      if (entry.length === length && entry.version === version && equals(entry.bytes, bytes, from, length)) {
        return entry.head;
      }
    }
    return undefined;
  }

  /** Remembers a head in the place of the oldest one. */
  add(bytes: Uint8Array, from: number, to: number, version: number, head: RequestHead): void {
    if (to - from > blockBytesMax) return;
    this.#entries[this.#next] = { bytes: bytes.slice(from, to), length: to - from, version, head };
    this.#next = (this.#next + 1) % entriesMax;
  }
}

function equals(held: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  for (let index = 0; index < length; index += 1) {
    if (held[index] !== bytes[from + index]) return false;
  }
  return true;
}
