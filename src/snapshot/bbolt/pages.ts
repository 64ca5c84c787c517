/**
 * Blocks of a database: a page and its overflow pages, read whole, each at most once in a walk.
 *
 * A walk claims every page it comes to. Since no page is claimed twice, a walk of a hostile file ends: cycles, shared
 * children and overlapping blocks are errors, and the work is bounded by the length of the file.
 */
import { BboltError, type ByteSource, type Meta, PAGE_HEADER_BYTES, readPageHeader, viewOf } from './format.js';

/** Pages that something has laid hands on, one bit each. */
export class Claims {
  readonly #bits: Uint8Array;
  readonly #highWater: number;

  constructor(highWater: number) {
    this.#highWater = highWater;
    this.#bits = new Uint8Array(Math.ceil(highWater / 8));
    this.claim(0);
    this.claim(1);
  }

  /** False when the page was claimed before. The page is below the high-water mark. */
  claim(page: number): boolean {
    const index = Math.floor(page / 8);
    const bit = 1 << (page % 8);
    if ((this.#bits[index]! & bit) !== 0) return false;
    this.#bits[index] = this.#bits[index]! | bit;
    return true;
  }

  /** The number of pages that nobody claimed, and the first of them. */
  unclaimed(): { count: number; first: number | undefined } {
    let count = 0;
    let first: number | undefined;
    for (let index = 0; index < this.#bits.length; index += 1) {
      if (this.#bits[index] === 0xff) continue;
      for (let page = index * 8; page < Math.min(index * 8 + 8, this.#highWater); page += 1) {
        if ((this.#bits[index]! & (1 << (page % 8))) !== 0) continue;
        count += 1;
        first ??= page;
      }
    }
    return { count, first };
  }
}

/** A page with its overflow, or the page image of an inline bucket. */
export interface Block {
  /** For messages: `page 7`. */
  readonly where: string;
  readonly kind: number;
  readonly count: number;
  /** From the page header on. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export class Pages {
  readonly meta: Meta;
  readonly #source: ByteSource;

  constructor(source: ByteSource, meta: Meta) {
    this.#source = source;
    this.meta = meta;
  }

  /** Reads the block that begins at a page and claims its pages. Throws BboltError. */
  take(page: number, claims: Claims): Block {
    const { pageSize } = this.meta;
    const { count, flags, overflow } = this.claimBlock(page, claims);
    const bytes = this.#source.read(page * pageSize, (overflow + 1) * pageSize);
    return { where: `page ${page}`, kind: flags, count, bytes, view: viewOf(bytes) };
  }

  /** Claims the pages of the block that begins at a page, and reads no more than its header. */
  claimBlock(page: number, claims: Claims): { count: number; flags: number; overflow: number } {
    const { pageSize, highWater } = this.meta;
    if (page < 2 || page >= highWater) throw new BboltError(`page ${page} is not one of the ${highWater} pages`);
    const header = readPageHeader(viewOf(this.#source.read(page * pageSize, PAGE_HEADER_BYTES)), 0);
    if (header.id !== page) throw new BboltError(`page ${page}: its header says page ${header.id}`);
    if (page + header.overflow >= highWater) {
      throw new BboltError(`page ${page}: ${header.overflow} overflow pages reach beyond the ${highWater} pages`);
    }
    for (let each = page; each <= page + header.overflow; each += 1) {
      if (!claims.claim(each)) throw new BboltError(`page ${each} is used more than once`);
    }
    return header;
  }

  /** Bytes of a block that is claimed already. */
  readWithin(page: number, offset: number, length: number): Uint8Array {
    return this.#source.read(page * this.meta.pageSize + offset, length);
  }
}
