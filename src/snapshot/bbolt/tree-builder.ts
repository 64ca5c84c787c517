/**
 * A tree of pages built from the bottom while its entries come in order: memory for one unfinished page a level.
 *
 *   put() ──> leaf ──full──> written; its first key and page id ──> branch above ──full──> written ──> …
 *
 * Pages are filled to the brim: the file is not going to grow in the middle. An entry that is longer than a page gets
 * one with overflow. Every branch has two children at least, as the library wants it.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import {
  BUCKET_ELEMENT,
  BUCKET_HEADER_BYTES,
  COUNT_MAX,
  ELEMENT_BYTES,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  PageKind,
  setUint64,
  VALUE_BYTES_MAX,
  viewOf,
  writePageHeader,
} from './format.js';

/** Where finished pages go. */
export interface PageSink {
  readonly pageSize: number;
  /** The id of the block that is written next. */
  readonly nextPage: number;
  /** Zeroed room for a block of so many pages; to be filled before the next call. */
  allocate(pages: number): Uint8Array;
}

const LITTLE_ENDIAN = true;

export class TreeBuilder {
  readonly #sink: PageSink;
  readonly #branches: BranchLevel;
  /** Keys and values of the unfinished leaf, one behind the other. */
  #data: Uint8Array;
  #dataLength = 0;
  #keyLengths: number[] = [];
  #valueLengths: number[] = [];
  #flags: number[] = [];
  #lastKeyStart = 0;
  #started = false;
  #lastKey: Uint8Array = new Uint8Array(0);

  constructor(sink: PageSink) {
    this.#sink = sink;
    this.#branches = new BranchLevel(sink);
    this.#data = new Uint8Array(sink.pageSize);
  }

  /** Adds an entry; keys ascend. Key and value are copied. */
  put(key: Uint8Array, value: Uint8Array, flags = 0): void {
    assert(key.length > 0 && key.length <= KEY_BYTES_MAX, 'bbolt: the key is too long or empty', { bytes: key.length });
    assert(value.length <= VALUE_BYTES_MAX, 'bbolt: the value is too long', { bytes: value.length });
    assert(!this.#started || compareBytes(this.#last(), key) < 0, 'bbolt: keys must ascend');
    const count = this.#keyLengths.length;
    const wanted = this.#leafBytes() + ELEMENT_BYTES + key.length + value.length;
    if (count > 0 && (wanted > this.#sink.pageSize || count === COUNT_MAX - 1)) this.#writeLeaf();
    this.#reserve(key.length + value.length);
    this.#data.set(key, this.#dataLength);
    this.#data.set(value, this.#dataLength + key.length);
    this.#lastKeyStart = this.#dataLength;
    this.#dataLength += key.length + value.length;
    this.#keyLengths.push(key.length);
    this.#valueLengths.push(value.length);
    this.#flags.push(flags);
    this.#started = true;
  }

  /** Finishes the tree as the value of a bucket element: a small one becomes an inline bucket, without a page. */
  finishBucket(): Uint8Array {
    const bytes = this.#leafBytes();
    const inline =
      this.#branches.empty && !this.#flags.includes(BUCKET_ELEMENT) && bytes <= Math.floor(this.#sink.pageSize / 4);
    const value = new Uint8Array(BUCKET_HEADER_BYTES + (inline ? bytes : 0));
    if (inline) this.#encodeLeaf(value.subarray(BUCKET_HEADER_BYTES), 0);
    else setUint64(viewOf(value), 0, this.finish());
    return value;
  }

  /** Finishes the tree and returns its root page. */
  finish(): number {
    if (this.#keyLengths.length > 0 || this.#branches.empty) this.#writeLeaf();
    return this.#branches.finish();
  }

  #last(): Uint8Array {
    const at = this.#keyLengths.length - 1;
    if (at < 0) return this.#lastKey;
    return this.#data.subarray(this.#lastKeyStart, this.#lastKeyStart + this.#keyLengths[at]!);
  }

  #leafBytes(): number {
    return PAGE_HEADER_BYTES + this.#keyLengths.length * ELEMENT_BYTES + this.#dataLength;
  }

  #reserve(bytes: number): void {
    if (this.#dataLength + bytes <= this.#data.length) return;
    const larger = new Uint8Array(this.#dataLength + bytes);
    larger.set(this.#data.subarray(0, this.#dataLength));
    this.#data = larger;
  }

  #writeLeaf(): void {
    this.#lastKey = this.#last().slice();
    const firstKey = this.#data.slice(0, this.#keyLengths[0] ?? 0);
    const page = this.#sink.nextPage;
    this.#encodeLeaf(this.#sink.allocate(Math.ceil(this.#leafBytes() / this.#sink.pageSize)), page);
    this.#branches.add(firstKey, page);
    this.#dataLength = 0;
    this.#keyLengths = [];
    this.#valueLengths = [];
    this.#flags = [];
    // Room for one long value is not kept for all the short ones behind it.
    if (this.#data.length > this.#sink.pageSize) this.#data = new Uint8Array(this.#sink.pageSize);
  }

  /** An inline leaf has the id 0 and no padding, hence no overflow. */
  #encodeLeaf(target: Uint8Array, page: number): void {
    const view = viewOf(target);
    const count = this.#keyLengths.length;
    const overflow = page === 0 ? 0 : target.length / this.#sink.pageSize - 1;
    writePageHeader(view, 0, { id: page, flags: PageKind.Leaf, count, overflow });
    const dataStart = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
    let data = dataStart;
    for (let at = 0; at < count; at += 1) {
      const element = PAGE_HEADER_BYTES + at * ELEMENT_BYTES;
      view.setUint32(element, this.#flags[at]!, LITTLE_ENDIAN);
      view.setUint32(element + 4, data - element, LITTLE_ENDIAN);
      view.setUint32(element + 8, this.#keyLengths[at]!, LITTLE_ENDIAN);
      view.setUint32(element + 12, this.#valueLengths[at]!, LITTLE_ENDIAN);
      data += this.#keyLengths[at]! + this.#valueLengths[at]!;
    }
    target.set(this.#data.subarray(0, this.#dataLength), dataStart);
  }
}

interface Child {
  readonly key: Uint8Array;
  readonly page: number;
}

/** The branches above the leaves, or above another level of branches. */
class BranchLevel {
  readonly #sink: PageSink;
  #children: Child[] = [];
  #bytes = PAGE_HEADER_BYTES;
  #above: BranchLevel | undefined;

  constructor(sink: PageSink) {
    this.#sink = sink;
  }

  get empty(): boolean {
    return this.#children.length === 0;
  }

  add(key: Uint8Array, page: number): void {
    const bytes = ELEMENT_BYTES + key.length;
    const full = this.#bytes + bytes > this.#sink.pageSize || this.#children.length === COUNT_MAX - 1;
    // One child stays behind for the next branch, which thereby never has only one.
    if (full && this.#children.length > 2) {
      const last = this.#children.pop() as Child;
      this.#write();
      this.#push(last);
    }
    this.#push({ key, page });
  }

  /** Writes what is left, all levels up; returns the root. */
  finish(): number {
    if (this.#above === undefined && this.#children.length === 1) return this.#children[0]!.page;
    this.#write();
    return (this.#above as BranchLevel).finish();
  }

  #push(child: Child): void {
    this.#children.push(child);
    this.#bytes += ELEMENT_BYTES + child.key.length;
  }

  #write(): void {
    const page = this.#sink.nextPage;
    const count = this.#children.length;
    let data = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
    const bytes = this.#children.reduce((sum, { key }) => sum + key.length, data);
    const block = this.#sink.allocate(Math.ceil(bytes / this.#sink.pageSize));
    const view = viewOf(block);
    const overflow = block.length / this.#sink.pageSize - 1;
    writePageHeader(view, 0, { id: page, flags: PageKind.Branch, count, overflow });
    this.#children.forEach(({ key, page: child }, at) => {
      const element = PAGE_HEADER_BYTES + at * ELEMENT_BYTES;
      view.setUint32(element, data - element, LITTLE_ENDIAN);
      view.setUint32(element + 4, key.length, LITTLE_ENDIAN);
      setUint64(view, element + 8, child);
      block.set(key, data);
      data += key.length;
    });
    this.#above ??= new BranchLevel(this.#sink);
    this.#above.add(this.#children[0]!.key, page);
    this.#children = [];
    this.#bytes = PAGE_HEADER_BYTES;
  }
}
