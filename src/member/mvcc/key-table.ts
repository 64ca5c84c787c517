/**
 * What is known about each user key: its bytes and its revisions that compaction has not removed.
 *
 * A key is a number, its slot: the address of a block of eight-byte elements. The key lies right behind the numbers
 * that go with it, so that to find a key is two or three fetches from memory: the hash entry, and one or two lines of
 * the block. Revisions before the newest lie elsewhere, because nearly every operation asks for the newest alone:
 *
 *     block   [ main, mark, created, version, key length, older at, older count, leaf | key bytes ]
 *     older   [ main, mark, main, mark, ... ]                mark = sub * 2 + (1 for a tombstone)
 *     shards  256 hash tables of (hash, slot + 1) pairs; they grow one at a time, so that no growth is long
 *
 * A tombstone ends a generation. `created` (main of the generation's first put) and `version` (puts since) describe the
 * generation of the newest revision and are 0 when that is a tombstone. Older generations need neither: their records
 * carry both.
 *
 *     operation        revisions afterwards ("t" = tombstone)       created  version
 *     put at 5         5.0                                                5        1
 *     put at 7         5.0  7.0                                           5        2
 *     delete at 9      5.0  7.0  9.0t                                     0        0
 *     put at 12        5.0  7.0  9.0t  12.0                              12        1
 *     compact at 8     7.0  9.0t  12.0        newest at or below 8 is the put 7.0: kept
 *     compact at 9     9.0t  12.0             the tombstone is exactly at 9: kept (etcd 3.6)
 *     compact at 11    12.0                   newest at or below 11 is the tombstone 9.0t: dropped
 *
 * Invariants (V3): revisions of a key ascend strictly by (main, sub); created <= main of the generation's puts.
 */
import { assert } from '../../base/assert.js';
import { Slabs } from './slab.js';

const MAIN = 0;
const MARK = 1;
const CREATED = 2;
const VERSION = 3;
const KEY_LENGTH = 4;
const OLDER_AT = 5;
const OLDER_COUNT = 6;
const LEAF = 7;
/** Elements before the key, and the bytes they take. */
const ROW_LENGTH = 8;
const ROW_BYTES = 64;

/** Elements of a chunk: 256 KiB of keys and rows, 512 KiB of older revisions. */
const ROW_CHUNK_SHIFT = 15;
const ROW_OFFSET_MASK = 2 ** ROW_CHUNK_SHIFT - 1;
const OLDER_CHUNK_SHIFT = 16;
const OLDER_OFFSET_MASK = 2 ** OLDER_CHUNK_SHIFT - 1;
const SHARD_MASK = 255;
const SHARD_CAPACITY_MIN = 16;

/** One memory, seen as numbers and as bytes. */
interface RowChunk {
  readonly numbers: Float64Array;
  readonly bytes: Uint8Array;
}

export class KeyTable {
  readonly #rows = new Slabs<RowChunk>(ROW_CHUNK_SHIFT, length => {
    const numbers = new Float64Array(length);
    return { numbers, bytes: new Uint8Array(numbers.buffer) };
  });
  readonly #older = new Slabs<Float64Array>(OLDER_CHUNK_SHIFT, length => new Float64Array(length));
  readonly #shards: Int32Array[] = Array.from({ length: SHARD_MASK + 1 }, () => new Int32Array(SHARD_CAPACITY_MIN * 2));
  readonly #shardSizes = new Int32Array(SHARD_MASK + 1);

  /** The slot of a key, or -1. */
  find(key: Uint8Array): number {
    const hash = hashOf(key);
    const shard = this.#shards[hash & SHARD_MASK]!;
    const mask = shard.length / 2 - 1;
    for (let at = (hash >>> 8) & mask; ; at = (at + 1) & mask) {
      const entry = shard[at * 2 + 1]!;
      if (entry === 0) return -1;
      if (shard[at * 2] === hash && this.#keyEquals(entry - 1, key)) return entry - 1;
    }
  }

  /** A new slot for a key that is not in the table; `key` is copied. It has no revision yet. */
  add(key: Uint8Array): number {
    const slot = this.#rows.allocate(blockLength(key.length));
    const { numbers, bytes } = this.#rows.chunks[slot >>> ROW_CHUNK_SHIFT]!;
    const at = slot & ROW_OFFSET_MASK;
    numbers.fill(0, at, at + ROW_LENGTH);
    numbers[at + KEY_LENGTH] = key.length;
    const keyAt = at * 8 + ROW_BYTES;
    for (let index = 0; index < key.length; index += 1) bytes[keyAt + index] = key[index]!;
    const hash = hashOf(key);
    this.#insert(hash & SHARD_MASK, hash, slot + 1);
    return slot;
  }

  /** Forgets a key that has no revision any more. */
  remove(slot: number): void {
    assert(this.count(slot) === 0, 'only a key without revisions is forgotten');
    const key = this.key(slot);
    this.#erase(hashOf(key), slot + 1);
    this.#rows.release(slot, blockLength(key.length));
  }

  /** The key's bytes: a view, valid until the key is removed. */
  key(slot: number): Uint8Array {
    const { numbers, bytes } = this.#rows.chunks[slot >>> ROW_CHUNK_SHIFT]!;
    const at = slot & ROW_OFFSET_MASK;
    const keyAt = at * 8 + ROW_BYTES;
    return bytes.subarray(keyAt, keyAt + numbers[at + KEY_LENGTH]!);
  }

  /** Byte order of the slot's key against `other`: negative, zero or positive. */
  compareKey(slot: number, other: Uint8Array): number {
    const { numbers, bytes } = this.#rows.chunks[slot >>> ROW_CHUNK_SHIFT]!;
    const at = slot & ROW_OFFSET_MASK;
    const keyAt = at * 8 + ROW_BYTES;
    const length = numbers[at + KEY_LENGTH]!;
    const shorter = Math.min(length, other.length);
    for (let index = 0; index < shorter; index += 1) {
      const difference = bytes[keyAt + index]! - other[index]!;
      if (difference !== 0) return difference;
    }
    return length - other.length;
  }

  /** Where the tree keeps the key. */
  leaf(slot: number): number {
    return this.#row(slot)[this.#at(slot) + LEAF]!;
  }

  setLeaf(slot: number, leaf: number): void {
    this.#row(slot)[this.#at(slot) + LEAF] = leaf;
  }

  /** Main of the newest revision; 0 when there is none. */
  newestMain(slot: number): number {
    return this.#row(slot)[this.#at(slot) + MAIN]!;
  }

  newestSub(slot: number): number {
    return this.#row(slot)[this.#at(slot) + MARK]! >>> 1;
  }

  createdMain(slot: number): number {
    return this.#row(slot)[this.#at(slot) + CREATED]!;
  }

  version(slot: number): number {
    return this.#row(slot)[this.#at(slot) + VERSION]!;
  }

  /** Whether the key exists at the newest revision. */
  live(slot: number): boolean {
    // A put has a version of at least 1, a tombstone and a slot without revisions have 0.
    return this.#row(slot)[this.#at(slot) + VERSION]! > 0;
  }

  /** Number of revisions. */
  count(slot: number): number {
    const row = this.#row(slot);
    const at = this.#at(slot);
    return row[at + MAIN] === 0 ? 0 : row[at + OLDER_COUNT]! + 1;
  }

  /** Adds a put. `version` 1 starts a generation; `createdMain` is the main of its first put. */
  put(slot: number, main: number, sub: number, createdMain: number, version: number): void {
    assert(createdMain <= main && version >= 1, 'a put lies in its generation', { main, createdMain, version });
    this.#push(slot, main, sub * 2);
    const row = this.#row(slot);
    const at = this.#at(slot);
    row[at + CREATED] = createdMain;
    row[at + VERSION] = version;
  }

  /** Adds the end of the generation. */
  tombstone(slot: number, main: number, sub: number): void {
    this.#push(slot, main, sub * 2 + 1);
    const row = this.#row(slot);
    const at = this.#at(slot);
    row[at + CREATED] = 0;
    row[at + VERSION] = 0;
  }

  /** Position of the newest revision with main <= `atMain`, or -1: 0 is the oldest, count - 1 the newest. */
  positionAt(slot: number, atMain: number): number {
    const row = this.#row(slot);
    const at = this.#at(slot);
    const olderCount = row[at + OLDER_COUNT]!;
    const main = row[at + MAIN]!;
    if (main === 0) return -1;
    if (main <= atMain) return olderCount;
    if (olderCount === 0) return -1;
    const address = row[at + OLDER_AT]!;
    const chunk = this.#olderChunk(address);
    const base = address & OLDER_OFFSET_MASK;
    let low = 0;
    let high = olderCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunk[base + middle * 2]! <= atMain) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  mainAt(slot: number, position: number): number {
    return this.#revisionAt(slot, position, MAIN);
  }

  subAt(slot: number, position: number): number {
    return this.#revisionAt(slot, position, MARK) >>> 1;
  }

  tombstoneAt(slot: number, position: number): boolean {
    return (this.#revisionAt(slot, position, MARK) & 1) === 1;
  }

  /** Whether the key exists at revision `atMain`. */
  liveAt(slot: number, atMain: number): boolean {
    const row = this.#row(slot);
    const at = this.#at(slot);
    if (row[at + MAIN]! <= atMain) return row[at + VERSION]! > 0;
    const position = this.positionAt(slot, atMain);
    return position >= 0 && !this.tombstoneAt(slot, position);
  }

  /** Forgets the `positions` oldest revisions, because their records are gone. */
  dropOldest(slot: number, positions: number): void {
    const row = this.#row(slot);
    const at = this.#at(slot);
    const olderCount = row[at + OLDER_COUNT]!;
    assert(positions >= 0 && positions <= this.count(slot), 'drops revisions that it has', { positions });
    if (positions > olderCount) {
      assert(row[at + VERSION] === 0, 'the newest revision of a key that exists is never dropped');
      row[at + MAIN] = 0;
      row[at + MARK] = 0;
    }
    const kept = Math.max(olderCount - positions, 0);
    if (kept < olderCount) this.#shrinkOlder(slot, olderCount, kept);
  }

  #row(slot: number): Float64Array {
    return this.#rows.chunks[slot >>> ROW_CHUNK_SHIFT]!.numbers;
  }

  #at(slot: number): number {
    return slot & ROW_OFFSET_MASK;
  }

  /** The chunk of older revisions that an address lies in. */
  #olderChunk(address: number): Float64Array {
    return this.#older.chunks[address >>> OLDER_CHUNK_SHIFT]!;
  }

  #revisionAt(slot: number, position: number, field: typeof MAIN | typeof MARK): number {
    const row = this.#row(slot);
    const at = this.#at(slot);
    if (position >= row[at + OLDER_COUNT]!) return row[at + field]!;
    const address = row[at + OLDER_AT]!;
    return this.#olderChunk(address)[(address & OLDER_OFFSET_MASK) + position * 2 + field]!;
  }

  #push(slot: number, main: number, mark: number): void {
    const row = this.#row(slot);
    const at = this.#at(slot);
    const newestMain = row[at + MAIN]!;
    const newestMark = row[at + MARK]!;
    if (main < newestMain || (main === newestMain && mark >>> 1 <= newestMark >>> 1)) {
      assert(false, 'revisions of a key ascend', { main, mark, newestMain, newestMark });
    }
    if (newestMain !== 0) this.#retire(row, at, newestMain, newestMark);
    row[at + MAIN] = main;
    row[at + MARK] = mark;
  }

  /** Puts the newest revision behind the older ones; their block doubles when it is full. */
  #retire(row: Float64Array, at: number, main: number, mark: number): void {
    const count = row[at + OLDER_COUNT]!;
    let address = row[at + OLDER_AT]!;
    if (count === 0 || isPowerOfTwo(count)) {
      const grown = this.#older.allocate(olderLength(count + 1));
      if (count > 0) this.#moveOlder(address, 0, grown, count);
      if (count > 0) this.#older.release(address, olderLength(count));
      row[at + OLDER_AT] = grown;
      address = grown;
    }
    const chunk = this.#olderChunk(address);
    const offset = (address & OLDER_OFFSET_MASK) + count * 2;
    chunk[offset] = main;
    chunk[offset + 1] = mark;
    row[at + OLDER_COUNT] = count + 1;
  }

  #shrinkOlder(slot: number, count: number, kept: number): void {
    const row = this.#row(slot);
    const at = this.#at(slot);
    const address = row[at + OLDER_AT]!;
    row[at + OLDER_COUNT] = kept;
    if (kept === 0) {
      this.#older.release(address, olderLength(count));
      row[at + OLDER_AT] = 0;
      return;
    }
    const smaller = olderLength(kept) === olderLength(count) ? address : this.#older.allocate(olderLength(kept));
    this.#moveOlder(address, count - kept, smaller, kept);
    row[at + OLDER_AT] = smaller;
    if (smaller !== address) this.#older.release(address, olderLength(count));
  }

  #moveOlder(from: number, firstPosition: number, to: number, count: number): void {
    const source = this.#olderChunk(from);
    const target = this.#olderChunk(to);
    const start = (from & OLDER_OFFSET_MASK) + firstPosition * 2;
    const offset = to & OLDER_OFFSET_MASK;
    // Towards lower offsets when it is the same block: front to back is safe.
    for (let index = 0; index < count * 2; index += 1) target[offset + index] = source[start + index]!;
  }

  #keyEquals(slot: number, key: Uint8Array): boolean {
    const { numbers, bytes } = this.#rows.chunks[slot >>> ROW_CHUNK_SHIFT]!;
    const at = slot & ROW_OFFSET_MASK;
    const length = key.length;
    if (numbers[at + KEY_LENGTH] !== length) return false;
    const keyAt = at * 8 + ROW_BYTES;
    for (let index = 0; index < length; index += 1) {
      if (bytes[keyAt + index] !== key[index]) return false;
    }
    return true;
  }

  #insert(shardNumber: number, hash: number, entry: number): void {
    let shard = this.#shards[shardNumber]!;
    const size = this.#shardSizes[shardNumber]! + 1;
    this.#shardSizes[shardNumber] = size;
    // At most three quarters full: size of length / 2 places.
    if (size * 8 > shard.length * 3) {
      shard = doubled(shard);
      this.#shards[shardNumber] = shard;
    }
    place(shard, hash, entry);
  }

  /** Takes an entry out and closes the gap, so that probing needs no marks for erased entries. */
  #erase(hash: number, entry: number): void {
    const shard = this.#shards[hash & SHARD_MASK]!;
    const mask = shard.length / 2 - 1;
    let gap = (hash >>> 8) & mask;
    while (shard[gap * 2 + 1] !== entry) {
      assert(shard[gap * 2 + 1] !== 0, 'the hash table knows the key');
      gap = (gap + 1) & mask;
    }
    for (let at = (gap + 1) & mask; shard[at * 2 + 1] !== 0; at = (at + 1) & mask) {
      const home = (shard[at * 2]! >>> 8) & mask;
      // An entry may move back to the gap unless its home lies behind the gap.
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      shard[gap * 2] = shard[at * 2]!;
      shard[gap * 2 + 1] = shard[at * 2 + 1]!;
      gap = at;
    }
    shard[gap * 2] = 0;
    shard[gap * 2 + 1] = 0;
    this.#shardSizes[hash & SHARD_MASK]! -= 1;
  }
}

/** Signed 32-bit hash of the bytes. It decides about speed only, never about a result. */
function hashOf(key: Uint8Array): number {
  const length = key.length;
  const endOfWords = length - (length & 3);
  let hash = length;
  let at = 0;
  for (; at < endOfWords; at += 4) {
    const word = key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
    hash = Math.imul(hash ^ word, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  for (; at < length; at += 1) hash = Math.imul(hash ^ key[at]!, 0x9e3779b1);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function place(shard: Int32Array, hash: number, entry: number): void {
  const mask = shard.length / 2 - 1;
  let at = (hash >>> 8) & mask;
  while (shard[at * 2 + 1] !== 0) at = (at + 1) & mask;
  shard[at * 2] = hash;
  shard[at * 2 + 1] = entry;
}

function doubled(shard: Int32Array): Int32Array {
  const larger = new Int32Array(shard.length * 2);
  for (let at = 0; at < shard.length; at += 2) {
    if (shard[at + 1] !== 0) place(larger, shard[at]!, shard[at + 1]!);
  }
  return larger;
}

/** Elements of a block for `count` older revisions: a power of two of revisions. */
function olderLength(count: number): number {
  return count === 1 ? 2 : 2 ** (33 - Math.clz32(count - 1));
}

function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}

/** Elements of the block of a key. */
function blockLength(keyLength: number): number {
  return ROW_LENGTH + ((keyLength + 7) >>> 3);
}
