/**
 * Records put since the last commit, in revision order, their sealed values packed into a few large blocks.
 *
 *   mains   [ 7 7 8 9 9 9 ]       ascending by (main, sub): a read is a binary search,
 *   subs    [ 0 1 0 0 1 2 ]       a first guess is right when every revision has one record
 *   values  [ . . . . . . ]       views of the blocks, checksum at the end; undefined: deleted again
 *
 * The blocks are reused after clear(): views taken before are void then. (One block is one ArrayBuffer: LMDB looks up
 * its address once.)
 */
import { assert } from '../../base/assert.js';
import { CHECKSUM_BYTES, recordSeed, seal } from './schema.js';

const BLOCK_BYTES = 1 << 20;
const BLOCKS_KEPT = 4;

export class RecordBuffer {
  readonly mains: number[] = [];
  readonly subs: number[] = [];
  readonly tombstones: boolean[] = [];
  readonly values: (Uint8Array | undefined)[] = [];
  readonly #blocks: Uint8Array[] = [];
  #block = 0;
  #used = 0;
  #bytes = 0;

  get length(): number {
    return this.mains.length;
  }

  /** Bytes of sealed values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Copies the value. The record must be greater than all before. */
  push(main: number, sub: number, tombstone: boolean, value: Uint8Array): void {
    const last = this.mains.length - 1;
    assert(
      last < 0 || main > this.mains[last]! || (main === this.mains[last]! && sub > this.subs[last]!),
      'records must ascend',
      { main, sub },
    );
    const sealed = this.#allocate(value.length + CHECKSUM_BYTES);
    sealed.set(value);
    seal(sealed, recordSeed(main, sub));
    this.mains.push(main);
    this.subs.push(sub);
    this.tombstones.push(tombstone);
    this.values.push(sealed);
    this.#bytes += sealed.length;
  }

  /** Position of the first record at or after (main, sub); `length` when there is none. */
  position(main: number, sub: number): number {
    const { mains, subs } = this;
    if (mains.length === 0) return 0;
    let low = 0;
    let high = mains.length;
    const guess = main - mains[0]!;
    if (guess >= 0 && guess < high && mains[guess] === main && subs[guess] === sub) return guess;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const before = mains[middle]! < main || (mains[middle] === main && subs[middle]! < sub);
      if (before) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Position of exactly this record, or -1. */
  find(main: number, sub: number): number {
    const at = this.position(main, sub);
    return this.mains[at] === main && this.subs[at] === sub ? at : -1;
  }

  /** Takes a record back that was never committed. */
  drop(at: number): void {
    this.#bytes -= this.values[at]?.length ?? 0;
    this.values[at] = undefined;
  }

  clear(): void {
    this.mains.length = 0;
    this.subs.length = 0;
    this.tombstones.length = 0;
    this.values.length = 0;
    this.#blocks.length = Math.min(this.#blocks.length, BLOCKS_KEPT);
    this.#block = 0;
    this.#used = 0;
    this.#bytes = 0;
  }

  /** A view of `length` bytes; a value larger than a block gets memory of its own. */
  #allocate(length: number): Uint8Array {
    if (length > BLOCK_BYTES / 2) return new Uint8Array(length);
    if (this.#used + length > BLOCK_BYTES) {
      this.#block += 1;
      this.#used = 0;
    }
    let block = this.#blocks[this.#block];
    if (block === undefined) {
      block = new Uint8Array(BLOCK_BYTES);
      this.#blocks[this.#block] = block;
    }
    const start = this.#used;
    this.#used = start + length;
    return block.subarray(start, start + length);
  }
}
