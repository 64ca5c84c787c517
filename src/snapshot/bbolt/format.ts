/**
 * The bbolt file format, version 2: page headers, meta pages and their checksum.
 *
 * A file is an array of pages. Pages 0 and 1 are meta pages: each names the root page, the freelist and the high-water
 * mark (the first page never used); of the valid ones that with the greater transaction id counts. All integers are
 * little-endian.
 *
 *   page header   id u64, flags u16, count u16, overflow u32; overflow more pages directly behind belong to it
 *   meta          magic u32, version u32, pageSize u32, flags u32, root u64, sequence u64, freelist u64, high water u64,
 *                 txid u64, FNV-1a 64 of all before
 *
 * Invariant: what is read here comes from a file that anybody may have made. A number that does not fit is an error of
 * one line (BboltError), never a wrong read. Page ids are numbers: one beyond 2^53 is imprecise, but also beyond every
 * high-water mark, and refused for that.
 */

/** The file breaks a rule of the format. The message is one line. */
export class BboltError extends Error {
  override readonly name = 'BboltError';
}

export const PAGE_HEADER_BYTES = 16;
/** Of an element in a leaf or in a branch. */
export const ELEMENT_BYTES = 16;
/** In front of an inline bucket's page, and all of a bucket element's value otherwise: root u64, sequence u64. */
export const BUCKET_HEADER_BYTES = 16;
export const PAGE_SIZE_DEFAULT = 4096;
/** Elements of a page are counted in 16 bits. */
export const COUNT_MAX = 0xffff;
export const KEY_BYTES_MAX = 32_768;
export const VALUE_BYTES_MAX = 2 ** 31 - 2;
/** The flag of a leaf element whose value is a bucket. */
export const BUCKET_ELEMENT = 1;

export const PageKind = { Branch: 1, Leaf: 2, Meta: 4, Freelist: 16 } as const;

const MAGIC = 0xed0cdaed;
const VERSION = 2;
const META_BYTES = 64;
const CHECKED_BYTES = 56;
const PAGE_SIZE_MIN = 512;
const PAGE_SIZE_MAX = 1024 << 14;
const HALF = 0x1_0000_0000;
const LITTLE_ENDIAN = true;

/** What a database is read from: a file without what may be appended to it. */
export interface ByteSource {
  readonly length: number;
  /** Exactly these bytes, which the caller has checked to exist; they stay as they are for as long as they are held. */
  read(offset: number, length: number): Uint8Array;
}

export interface PageHeader {
  readonly id: number;
  readonly flags: number;
  readonly count: number;
  readonly overflow: number;
}

export interface Meta {
  readonly pageSize: number;
  readonly root: number;
  /** Undefined: not stored; the pages that nothing reaches are the free ones. */
  readonly freelist: number | undefined;
  /** Pages in use, with the free ones among them: the first page id never used. */
  readonly highWater: number;
  readonly txid: bigint;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, LITTLE_ENDIAN) * HALF + view.getUint32(at, LITTLE_ENDIAN);
}

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, LITTLE_ENDIAN);
  view.setUint32(at + 4, (value / HALF) >>> 0, LITTLE_ENDIAN);
}

export function readPageHeader(view: DataView, at: number): PageHeader {
  return {
    id: getUint64(view, at),
    flags: view.getUint16(at + 8, LITTLE_ENDIAN),
    count: view.getUint16(at + 10, LITTLE_ENDIAN),
    overflow: view.getUint32(at + 12, LITTLE_ENDIAN),
  };
}

export function writePageHeader(view: DataView, at: number, header: PageHeader): void {
  setUint64(view, at, header.id);
  view.setUint16(at + 8, header.flags, LITTLE_ENDIAN);
  view.setUint16(at + 10, header.count, LITTLE_ENDIAN);
  view.setUint32(at + 12, header.overflow, LITTLE_ENDIAN);
}

/** One whole meta page. */
export function encodeMetaPage(id: number, meta: Meta): Uint8Array {
  const page = new Uint8Array(meta.pageSize);
  const view = viewOf(page);
  writePageHeader(view, 0, { id, flags: PageKind.Meta, count: 0, overflow: 0 });
  const at = PAGE_HEADER_BYTES;
  view.setUint32(at, MAGIC, LITTLE_ENDIAN);
  view.setUint32(at + 4, VERSION, LITTLE_ENDIAN);
  view.setUint32(at + 8, meta.pageSize, LITTLE_ENDIAN);
  setUint64(view, at + 16, meta.root);
  if (meta.freelist === undefined) view.setBigUint64(at + 32, 2n ** 64n - 1n, LITTLE_ENDIAN);
  else setUint64(view, at + 32, meta.freelist);
  setUint64(view, at + 40, meta.highWater);
  view.setBigUint64(at + 48, meta.txid, LITTLE_ENDIAN);
  view.setBigUint64(at + 56, fnv1a64(page, at, at + CHECKED_BYTES), LITTLE_ENDIAN);
  return page;
}

/** Both meta pages of a file, and the one that counts. */
export interface Metas {
  readonly current: Meta;
  /** What is wrong with the other page; undefined when it is valid. */
  readonly otherProblem: string | undefined;
}

/**
 * Reads the meta pages as the library does: the first page tells the page size, or a valid second page where some page
 * size puts it. Throws BboltError when neither is valid or the one that counts contradicts the file.
 */
export function readMetas(source: ByteSource): Metas {
  const first = readMetaAt(source, 0, 0);
  let second: Meta | string = 'page 1: no meta page';
  if (typeof first !== 'string') second = readMetaAt(source, first.pageSize, 1);
  for (let size = 1024; typeof first === 'string' && typeof second === 'string' && size <= PAGE_SIZE_MAX; size *= 2) {
    const found = readMetaAt(source, size, 1);
    if (typeof found === 'string' || found.pageSize === size) second = found;
  }
  if (typeof first === 'string') {
    if (typeof second === 'string') throw new BboltError(`not a bbolt database: ${first}, and no second meta page`);
    return { current: checkedMeta(second, source), otherProblem: first };
  }
  if (typeof second === 'string') return { current: checkedMeta(first, source), otherProblem: second };
  const otherProblem = second.pageSize === first.pageSize ? undefined : 'page 1: another page size than in page 0';
  return { current: checkedMeta(second.txid > first.txid ? second : first, source), otherProblem };
}

function readMetaAt(source: ByteSource, offset: number, id: number): Meta | string {
  if (offset + PAGE_HEADER_BYTES + META_BYTES > source.length) return `page ${id}: the file ends before it`;
  const bytes = source.read(offset, PAGE_HEADER_BYTES + META_BYTES);
  const view = viewOf(bytes);
  const at = PAGE_HEADER_BYTES;
  if (view.getUint32(at, LITTLE_ENDIAN) !== MAGIC) return `page ${id}: no bbolt magic number`;
  const version = view.getUint32(at + 4, LITTLE_ENDIAN);
  if (version !== VERSION) return `page ${id}: format version ${version}, known is ${VERSION}`;
  if (view.getBigUint64(at + 56, LITTLE_ENDIAN) !== fnv1a64(bytes, at, at + CHECKED_BYTES)) {
    return `page ${id}: the checksum of the meta page does not hold`;
  }
  const header = readPageHeader(view, 0);
  if (header.id !== id || header.flags !== PageKind.Meta) return `page ${id}: its header is not that of a meta page`;
  const pageSize = view.getUint32(at + 8, LITTLE_ENDIAN);
  const powerOfTwo = (pageSize & (pageSize - 1)) === 0;
  if (!powerOfTwo || pageSize < PAGE_SIZE_MIN || pageSize > PAGE_SIZE_MAX) {
    return `page ${id}: a page size of ${pageSize} bytes`;
  }
  const none = view.getBigUint64(at + 32, LITTLE_ENDIAN) === 2n ** 64n - 1n;
  return {
    pageSize,
    root: getUint64(view, at + 16),
    freelist: none ? undefined : getUint64(view, at + 32),
    highWater: getUint64(view, at + 40),
    txid: view.getBigUint64(at + 48, LITTLE_ENDIAN),
  };
}

function checkedMeta(meta: Meta, source: ByteSource): Meta {
  const { pageSize, root, freelist, highWater } = meta;
  if (highWater > Math.floor(source.length / pageSize)) {
    const wanted = `${highWater} pages of ${pageSize} bytes`;
    throw new BboltError(`the file is cut short: the database has ${wanted}, the file ${source.length} bytes`);
  }
  if (root < 2 || root >= highWater) throw new BboltError(`the root page ${root} is not one of ${highWater} pages`);
  if (freelist !== undefined && (freelist < 2 || freelist >= highWater)) {
    throw new BboltError(`the freelist page ${freelist} is not one of ${highWater} pages`);
  }
  return meta;
}

/** FNV-1a, 64 bits, of bytes[start, end). */
function fnv1a64(bytes: Uint8Array, start: number, end: number): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let i = start; i < end; i += 1) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(bytes[i]!)) * 0x100000001b3n);
  }
  return hash;
}
