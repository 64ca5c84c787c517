/**
 * One tree of pages, leaf by leaf in the order of the keys; every rule about it is checked on the way.
 *
 *   branch element   pos u32, ksize u32, child u64                   the key is the least of the child's subtree
 *   leaf element     flags u32, pos u32, ksize u32, vsize u32        pos counts from the element to the key
 *
 * Checked before a leaf is handed out: the page is claimed and of the right kind, every element lies in its block and
 * right behind the one before, as the library writes it (so that a changed length shows, and a page cannot name the
 * same bytes many times), keys ascend and lie between those of the parents. A problem is thrown; with `problems` given
 * it is noted instead and the walk goes on behind the subtree.
 */
import {
  BboltError,
  BUCKET_ELEMENT,
  ELEMENT_BYTES,
  getUint64,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  PageKind,
  readPageHeader,
  viewOf,
} from './format.js';
import type { Block, Claims, Pages } from './pages.js';

/** A tree that branches at least in two at every level is never this deep. */
const DEPTH_MAX = 64;
const LITTLE_ENDIAN = true;

/** Collects what is wrong, up to a number of problems; then the walk that reports to it stops. */
export class Problems {
  readonly lines: string[] = [];
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get full(): boolean {
    return this.lines.length >= this.#max;
  }

  add(line: string): void {
    if (!this.full) this.lines.push(line);
  }

  /** Notes a problem of the format; everything else is thrown on. */
  note(error: unknown): void {
    if (!(error instanceof BboltError)) throw error;
    this.add(error.message);
  }
}

/** A checked leaf. Keys and values are views. */
export class Leaf {
  readonly count: number;
  readonly where: string;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(block: Block) {
    this.count = block.count;
    this.where = block.where;
    this.bytes = block.bytes;
    this.#view = block.view;
  }

  isBucket(at: number): boolean {
    return this.#view.getUint32(elementAt(at), LITTLE_ENDIAN) === BUCKET_ELEMENT;
  }

  key(at: number): Uint8Array {
    const start = this.keyStart(at);
    return this.bytes.subarray(start, start + this.keyLength(at));
  }

  value(at: number): Uint8Array {
    const start = this.keyStart(at) + this.keyLength(at);
    return this.bytes.subarray(start, start + this.#view.getUint32(elementAt(at) + 12, LITTLE_ENDIAN));
  }

  /** Key and value, which stand behind each other. */
  keyAndValue(at: number): Uint8Array {
    const start = this.keyStart(at);
    const valueLength = this.#view.getUint32(elementAt(at) + 12, LITTLE_ENDIAN);
    return this.bytes.subarray(start, start + this.keyLength(at) + valueLength);
  }

  keyStart(at: number): number {
    const element = elementAt(at);
    return element + this.#view.getUint32(element + 4, LITTLE_ENDIAN);
  }

  keyLength(at: number): number {
    return this.#view.getUint32(elementAt(at) + 8, LITTLE_ENDIAN);
  }
}

/** The keys that a page may hold: from `least` on, below `end`. */
interface Bounds {
  readonly least: Uint8Array | undefined;
  readonly end: Uint8Array | undefined;
}

const UNBOUNDED: Bounds = { least: undefined, end: undefined };

/** The leaves of the tree with this root page. Claims its pages. Throws BboltError, unless problems are collected. */
export function* treeLeaves(pages: Pages, root: number, claims: Claims, problems?: Problems): Generator<Leaf> {
  yield* subtreeLeaves({ pages, claims, problems }, root, UNBOUNDED, 0);
}

interface Walk {
  readonly pages: Pages;
  readonly claims: Claims;
  readonly problems: Problems | undefined;
}

function* subtreeLeaves(walk: Walk, page: number, bounds: Bounds, depth: number): Generator<Leaf> {
  let block: Block;
  let branch: BranchElement[] | undefined;
  try {
    if (depth > DEPTH_MAX) throw new BboltError(`page ${page}: the tree is deeper than ${DEPTH_MAX} pages`);
    block = walk.pages.take(page, walk.claims);
    branch = checkPage(block, bounds, depth);
  } catch (error) {
    if (walk.problems === undefined) throw error;
    walk.problems.note(error);
    return;
  }
  if (branch === undefined) {
    yield new Leaf(block);
    return;
  }
  for (let at = 0; at < branch.length && walk.problems?.full !== true; at += 1) {
    const { key, child } = branch[at]!;
    yield* subtreeLeaves(walk, child, { least: key, end: branch[at + 1]?.key ?? bounds.end }, depth + 1);
  }
}

/** The elements of a branch, undefined for a leaf. */
function checkPage(block: Block, bounds: Bounds, depth: number): BranchElement[] | undefined {
  if (block.kind === PageKind.Branch) return checkBranch(block, bounds);
  if (block.kind !== PageKind.Leaf) {
    throw new BboltError(`${block.where}: flags ${block.kind}, expected a branch or a leaf`);
  }
  if (block.count === 0 && depth > 0) throw new BboltError(`${block.where}: an empty leaf below a branch`);
  checkLeaf(block, bounds);
  return undefined;
}

interface BranchElement {
  readonly key: Uint8Array;
  readonly child: number;
}

function checkBranch(block: Block, bounds: Bounds): BranchElement[] {
  const { view, bytes, count, where } = block;
  if (count === 0) throw new BboltError(`${where}: a branch without children`);
  const order = new ElementOrder(block, bounds);
  const elements: BranchElement[] = [];
  for (let at = 0; at < count; at += 1) {
    const element = elementAt(at);
    const start = element + view.getUint32(element, LITTLE_ENDIAN);
    const length = view.getUint32(element + 4, LITTLE_ENDIAN);
    order.check(at, start, length, 0);
    elements.push({ key: bytes.subarray(start, start + length), child: getUint64(view, element + 8) });
  }
  order.end();
  return elements;
}

function checkLeaf(block: Block, bounds: Bounds): void {
  const { view, count, where } = block;
  const order = new ElementOrder(block, bounds);
  for (let at = 0; at < count; at += 1) {
    const element = elementAt(at);
    const flags = view.getUint32(element, LITTLE_ENDIAN);
    if (flags !== 0 && flags !== BUCKET_ELEMENT) throw new BboltError(`${where}: element ${at} has flags ${flags}`);
    const start = element + view.getUint32(element + 4, LITTLE_ENDIAN);
    order.check(at, start, view.getUint32(element + 8, LITTLE_ENDIAN), view.getUint32(element + 12, LITTLE_ENDIAN));
  }
  order.end();
}

/** Checks elements one after the other: place in the block, and the order of the keys. */
class ElementOrder {
  readonly #block: Block;
  readonly #bounds: Bounds;
  #dataEnd: number;
  #lastStart = 0;
  #lastEnd = 0;

  constructor(block: Block, bounds: Bounds) {
    this.#block = block;
    this.#bounds = bounds;
    this.#dataEnd = elementAt(block.count);
    if (this.#dataEnd > block.bytes.length) {
      throw new BboltError(`${block.where}: ${block.count} elements do not fit into it`);
    }
  }

  check(at: number, start: number, keyLength: number, valueLength: number): void {
    const { bytes, where } = this.#block;
    if (keyLength === 0 || keyLength > KEY_BYTES_MAX) {
      throw new BboltError(`${where}: element ${at} has a key of ${keyLength} bytes`);
    }
    const end = start + keyLength + valueLength;
    if (end > bytes.length) throw new BboltError(`${where}: element ${at} ends beyond its page`);
    if (start !== this.#dataEnd)
      throw new BboltError(`${where}: element ${at} does not begin where the one before ends`);
    this.#dataEnd = end;
    const keyEnd = start + keyLength;
    if (at === 0) {
      const { least } = this.#bounds;
      if (least !== undefined && compareRanges(least, 0, least.length, bytes, start, keyEnd) > 0) {
        throw new BboltError(`${where}: its first key is less than the parent's`);
      }
    } else if (compareRanges(bytes, this.#lastStart, this.#lastEnd, bytes, start, keyEnd) >= 0) {
      throw new BboltError(`${where}: the keys of elements ${at - 1} and ${at} do not ascend`);
    }
    this.#lastStart = start;
    this.#lastEnd = keyEnd;
  }

  /** The last key is the greatest: only it can reach into the next page's range. */
  end(): void {
    const { bytes, count, where } = this.#block;
    const { end } = this.#bounds;
    if (count === 0 || end === undefined) return;
    if (compareRanges(bytes, this.#lastStart, this.#lastEnd, end, 0, end.length) >= 0) {
      throw new BboltError(`${where}: its last key belongs behind the next page's first`);
    }
  }
}

/** The leaf of an inline bucket: a page image inside a leaf's value, without a page id of its own. Throws BboltError. */
export function inlineLeaf(image: Uint8Array, where: string): Leaf {
  if (image.length < PAGE_HEADER_BYTES) throw new BboltError(`${where}: an inline bucket of ${image.length} bytes`);
  const view = viewOf(image);
  const { id, flags, count, overflow } = readPageHeader(view, 0);
  if (id !== 0 || flags !== PageKind.Leaf || overflow !== 0) {
    throw new BboltError(`${where}: the page of an inline bucket is page ${id}, flags ${flags}, overflow ${overflow}`);
  }
  const block: Block = { where, kind: flags, count, bytes: image, view };
  checkLeaf(block, UNBOUNDED);
  return new Leaf(block);
}

function elementAt(index: number): number {
  return PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
}

/** Order of left[leftStart, leftEnd) and right[rightStart, rightEnd), byte by byte. */
function compareRanges(
  left: Uint8Array,
  leftStart: number,
  leftEnd: number,
  right: Uint8Array,
  rightStart: number,
  rightEnd: number,
): number {
  const length = Math.min(leftEnd - leftStart, rightEnd - rightStart);
  for (let i = 0; i < length; i += 1) {
    const difference = left[leftStart + i]! - right[rightStart + i]!;
    if (difference !== 0) return difference;
  }
  return leftEnd - leftStart - (rightEnd - rightStart);
}
