/**
 * Memory for very many small blocks of numbers, outside of the garbage collector's sight.
 *
 * A million keys as objects are a million things to trace again and again. Here they lie in a few large typed arrays:
 *
 *     chunks   [ chunk 0 | chunk 1 | ... ]          each of `chunkLength` elements, a power of two
 *     address  = chunk number * chunkLength + offset in the chunk
 *
 * A block never crosses a chunk. One that is longer than a chunk gets a chunk of its own length. Released blocks are
 * given out again for the same length; callers round lengths up so that few different ones exist.
 */
import { assert } from '../../base/assert.js';

export class Slabs<T extends Uint8Array | Float64Array> {
  /** Block at `address`: chunks[chunkOf(address)], elements from offsetOf(address) on. */
  readonly chunks: T[] = [];
  readonly #chunkLength: number;
  readonly #create: (length: number) => T;
  readonly #free = new Map<number, number[]>();
  /** Numbers of chunks whose long block was released. */
  readonly #freeChunks: number[] = [];
  #bumpChunk = -1;
  #bumpOffset: number;

  constructor(chunkLength: number, create: (length: number) => T) {
    assert(Number.isInteger(Math.log2(chunkLength)), 'a chunk length is a power of two', { chunkLength });
    this.#chunkLength = chunkLength;
    this.#create = create;
    this.#bumpOffset = chunkLength;
  }

  chunkOf(address: number): number {
    return Math.floor(address / this.#chunkLength);
  }

  offsetOf(address: number): number {
    // Addresses outgrow 32 bits: no bit operation on the whole.
    return address % this.#chunkLength;
  }

  /** Address of a block of `length` elements with unspecified content. */
  allocate(length: number): number {
    if (length > this.#chunkLength) return this.#allocateLong(length);
    const released = this.#free.get(length)?.pop();
    if (released !== undefined) return released;
    if (this.#bumpOffset + length > this.#chunkLength) {
      this.#bumpChunk = this.#addChunk(this.#chunkLength);
      this.#bumpOffset = 0;
    }
    const address = this.#bumpChunk * this.#chunkLength + this.#bumpOffset;
    this.#bumpOffset += length;
    return address;
  }

  /** Gives back a block; `length` as it was allocated. */
  release(address: number, length: number): void {
    if (length > this.#chunkLength) {
      const chunk = this.chunkOf(address);
      this.chunks[chunk] = this.#create(0);
      this.#freeChunks.push(chunk);
      return;
    }
    const released = this.#free.get(length);
    if (released === undefined) this.#free.set(length, [address]);
    else released.push(address);
  }

  #allocateLong(length: number): number {
    return this.#addChunk(length) * this.#chunkLength;
  }

  #addChunk(length: number): number {
    const chunk = this.#freeChunks.pop() ?? this.chunks.length;
    this.chunks[chunk] = this.#create(length);
    return chunk;
  }
}
