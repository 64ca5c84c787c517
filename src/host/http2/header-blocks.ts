/**
 * Header blocks of one connection: collected from HEADERS and CONTINUATION, decoded in order, made into requests.
 *
 *     HEADERS -END_HEADERS------------------------------------> decode where it lies
 *     HEADERS -no END_HEADERS-> collecting -CONTINUATION ... END_HEADERS-> decode the collected bytes
 *
 * While a block is collected, nothing else may arrive on the connection (RFC 9113 §6.10). Its bytes and its frames are
 * bounded; a block above the bounds cannot be skipped, as the table would get lost, so it ends the connection.
 */
import { HeadCache } from './head-cache.js';
import { Decoder } from './hpack/decoder.js';
import type { HeaderField } from './hpack/field.js';
import type { Http2Limits } from './limits.js';
import { HeadBuilder, type RequestHead } from './request-head.js';

/**
 * Why a block is no message: `compression` is the end of the connection, the others concern one stream.
 */
export type BlockProblem = 'compression' | 'too-large' | 'malformed';

const nothing = new Uint8Array(0);

export class HeaderBlocks {
  readonly #limits: Http2Limits;
  readonly #decoder: Decoder;
  readonly #builder: HeadBuilder;
  readonly #cache = new HeadCache();
  #collected: Uint8Array = nothing;
  #collectedBytes = 0;
  #frames = 0;

  /** The stream whose block is being collected; 0 = none. */
  collectingStreamId = 0;
  /** END_STREAM of the HEADERS frame that began the block. */
  collectingEndStream = false;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
    this.#decoder = new Decoder(limits.headerTableBytes);
    this.#builder = new HeadBuilder(limits.headerListBytesMax);
  }

  /** Begins to collect a block with its first fragment. False: it is too large. */
  begin(streamId: number, endStream: boolean, bytes: Uint8Array, from: number, to: number): boolean {
    this.collectingStreamId = streamId;
    this.collectingEndStream = endStream;
    this.#collectedBytes = 0;
    this.#frames = 0;
    return this.add(bytes, from, to);
  }

  /** Adds a fragment. False: the block has become too large, in bytes or in frames. */
  add(bytes: Uint8Array, from: number, to: number): boolean {
    const length = this.#collectedBytes + to - from;
    this.#frames += 1;
    if (length > this.#limits.headerBlockBytesMax || this.#frames > this.#limits.headerBlockFramesMax) return false;
    if (length > this.#collected.length) {
      const grown = new Uint8Array(Math.min(length * 2, this.#limits.headerBlockBytesMax));
      grown.set(this.#collected.subarray(0, this.#collectedBytes));
      this.#collected = grown;
    }
    this.#collected.set(bytes.subarray(from, to), this.#collectedBytes);
    this.#collectedBytes = length;
    return true;
  }

  /** Ends the collection; the bytes are valid until the next `begin`. */
  finish(): Uint8Array {
    const block = this.#collected.subarray(0, this.#collectedBytes);
    this.#collected = nothing;
    this.collectingStreamId = 0;
    return block;
  }

  /** Decodes a block that begins a request. */
  request(bytes: Uint8Array, from: number, to: number): RequestHead | BlockProblem {
    const version = this.#decoder.tableVersion;
    const known = this.#cache.find(bytes, from, to, version);
    if (known !== undefined) return known;
    const problem = this.#decode(bytes, from, to);
    if (problem !== undefined) return problem;
    const head = this.#builder.request();
    if (head === undefined) return 'malformed';
    if (this.#decoder.tableVersion === version) this.#cache.add(bytes, from, to, version, head);
    return head;
  }

  /** Decodes a block that ends a request. */
  trailers(bytes: Uint8Array, from: number, to: number): readonly HeaderField[] | BlockProblem {
    return this.#decode(bytes, from, to) ?? this.#builder.trailers() ?? 'malformed';
  }

  /** Decodes a block that nobody wants, for the table's sake. False: it is not decodable. */
  skip(bytes: Uint8Array, from: number, to: number): boolean {
    return this.#decode(bytes, from, to) !== 'compression';
  }

  #decode(bytes: Uint8Array, from: number, to: number): BlockProblem | undefined {
    this.#builder.start();
    if (this.#decoder.decode(bytes, from, to, this.#builder) !== undefined) return 'compression';
    return this.#builder.tooLarge ? 'too-large' : undefined;
  }
}
