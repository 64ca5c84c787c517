/**
 * Writes a bbolt database in one go: buckets in the order of their names, entries in the order of their keys.
 *
 *   pages 0, 1   metas, made last (finish)
 *   page 2       empty freelist: every page is used
 *   page 3…      leaves and branches as they become full
 *
 * Everything behind the metas goes to `write` in order, in chunks; whoever has a file writes the metas in front of it
 * at the end, and whoever must send them first runs the same entries twice, the first time for the metas alone: the
 * same entries give the same bytes. Memory: one chunk, one unfinished page for each level of a tree.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import {
  BUCKET_ELEMENT,
  encodeMetaPage,
  type Meta,
  PAGE_SIZE_DEFAULT,
  PageKind,
  viewOf,
  writePageHeader,
} from './format.js';
import { type PageSink, TreeBuilder } from './tree-builder.js';

const CHUNK_BYTES = 256 << 10;
const FREELIST_PAGE = 2;
const TXID = 1n;

export interface FinishedDatabase {
  /** Both meta pages: the first bytes of the file, in front of everything that was written. */
  readonly head: Uint8Array;
  /** Of the whole file. */
  readonly lengthBytes: number;
}

export interface WriterOptions {
  /** A power of two; default 4096. */
  readonly pageSize?: number;
}

export class DatabaseWriter {
  readonly #sink: ChunkedSink;
  readonly #root: TreeBuilder;
  #bucket: TreeBuilder | undefined;
  #name: Uint8Array | undefined;

  /** `write` gets the file from its third page on; a chunk is valid during the call only. */
  constructor(write: (chunk: Uint8Array) => void, { pageSize = PAGE_SIZE_DEFAULT }: WriterOptions = {}) {
    this.#sink = new ChunkedSink(pageSize, write);
    this.#root = new TreeBuilder(this.#sink);
    const freelist = viewOf(this.#sink.allocate(1));
    writePageHeader(freelist, 0, { id: FREELIST_PAGE, flags: PageKind.Freelist, count: 0, overflow: 0 });
  }

  /** Ends the bucket before and begins the next; names ascend. */
  bucket(name: Uint8Array): void {
    assert(this.#name === undefined || compareBytes(this.#name, name) < 0, 'bbolt: bucket names must ascend');
    this.#endBucket();
    this.#name = name.slice();
    this.#bucket = new TreeBuilder(this.#sink);
  }

  /** An entry of the bucket; keys ascend. Key and value are copied. */
  put(key: Uint8Array, value: Uint8Array): void {
    assert(this.#bucket !== undefined, 'bbolt: an entry before the first bucket');
    this.#bucket.put(key, value);
  }

  /** Ends the file. */
  finish(): FinishedDatabase {
    this.#endBucket();
    const root = this.#root.finish();
    this.#sink.flush();
    const { pageSize, nextPage } = this.#sink;
    const meta: Meta = { pageSize, root, freelist: FREELIST_PAGE, highWater: nextPage, txid: TXID };
    const head = new Uint8Array(2 * pageSize);
    head.set(encodeMetaPage(0, meta));
    // As in a snapshot that the library streams: the same database, one transaction older.
    head.set(encodeMetaPage(1, { ...meta, txid: TXID - 1n }), pageSize);
    return { head, lengthBytes: nextPage * pageSize };
  }

  #endBucket(): void {
    if (this.#bucket === undefined) return;
    this.#root.put(this.#name as Uint8Array, this.#bucket.finishBucket(), BUCKET_ELEMENT);
    this.#bucket = undefined;
  }
}

class ChunkedSink implements PageSink {
  readonly pageSize: number;
  readonly #write: (chunk: Uint8Array) => void;
  readonly #chunk: Uint8Array;
  #used = 0;
  #nextPage = FREELIST_PAGE;
  /** A block that is longer than a chunk, not written yet. */
  #long: Uint8Array | undefined;

  constructor(pageSize: number, write: (chunk: Uint8Array) => void) {
    this.pageSize = pageSize;
    this.#write = write;
    this.#chunk = new Uint8Array(Math.max(CHUNK_BYTES, pageSize));
  }

  get nextPage(): number {
    return this.#nextPage;
  }

  allocate(pages: number): Uint8Array {
    const bytes = pages * this.pageSize;
    if (this.#long !== undefined || this.#used + bytes > this.#chunk.length) this.flush();
    this.#nextPage += pages;
    if (bytes > this.#chunk.length) {
      this.#long = new Uint8Array(bytes);
      return this.#long;
    }
    this.#used += bytes;
    return this.#chunk.subarray(this.#used - bytes, this.#used).fill(0);
  }

  flush(): void {
    if (this.#used > 0) this.#write(this.#chunk.subarray(0, this.#used));
    if (this.#long !== undefined) this.#write(this.#long);
    this.#used = 0;
    this.#long = undefined;
  }
}
