/**
 * Memory for very many small blocks of numbers, outside of the garbage collector's sight.
 *
 * A million keys as objects are a million things to trace again and again. Here they lie in a few large typed arrays:
 *
 *     chunks   [ chunk 0 | chunk 1 | ... ]          each of 2^chunkShift elements
 *     address  = chunk number * 2^chunkShift + offset in the chunk
 *
 * A block never crosses a chunk. One that is longer than a chunk gets a chunk of its own length. Released blocks are
 * given out again for the same length; callers round lengths up so that few different ones exist. What an element is,
 * the creator of chunks decides.
 */
import { assert } from '../../base/assert.js';

/** Addresses fit in 31 bits, so that bit operations take them apart: 16 GiB of 8-byte elements. */
const ADDRESS_MAX = 2 ** 31;

export class Slabs<Chunk> {
  /** The block at `address`: chunks[address >>> chunkShift], elements from (address & offsetMask) on. */
  readonly chunks: Chunk[] = [];
  readonly chunkShift: number;
  readonly offsetMask: number;
  readonly #create: (length: number) => Chunk;
  readonly #free = new Map<number, number[]>();
  /** Numbers of chunks whose long block was released. */
  readonly #freeChunks: number[] = [];
  #bumpChunk = -1;
  #bumpOffset: number;

  constructor(chunkShift: number, create: (length: number) => Chunk) {
    this.chunkShift = chunkShift;
    this.offsetMask = 2 ** chunkShift - 1;
    this.#create = create;
    this.#bumpOffset = 2 ** chunkShift;
  }

  /** Address of a block of `length` elements with unspecified content. */
  allocate(length: number): number {
    const chunkLength = this.offsetMask + 1;
    if (length > chunkLength) return this.#addChunk(length) << this.chunkShift;
    const released = this.#free.get(length)?.pop();
    if (released !== undefined) return released;
    if (this.#bumpOffset + length > chunkLength) {
      this.#bumpChunk = this.#addChunk(chunkLength);
      this.#bumpOffset = 0;
    }
    const address = (this.#bumpChunk << this.chunkShift) + this.#bumpOffset;
    this.#bumpOffset += length;
    return address;
  }

  /** Gives back a block; `length` as it was allocated. */
  release(address: number, length: number): void {
    if (length > this.offsetMask + 1) {
      const chunk = address >>> this.chunkShift;
      this.chunks[chunk] = this.#create(0);
      this.#freeChunks.push(chunk);
      return;
    }
    const released = this.#free.get(length);
    if (released === undefined) this.#free.set(length, [address]);
    else released.push(address);
  }

  #addChunk(length: number): number {
    const chunk = this.#freeChunks.pop() ?? this.chunks.length;
    assert((chunk + 1) * (this.offsetMask + 1) <= ADDRESS_MAX, 'the index is full', { chunk });
    this.chunks[chunk] = this.#create(length);
    return chunk;
  }
}
