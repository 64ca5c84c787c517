/**
 * The whole database, checked in one pass: metas, every page, every key's place, and that each page below the
 * high-water mark is exactly one of meta, freelist, reachable once, or free.
 *
 * A visitor may read the same pass: everything it is told has been checked, but for what only the end can tell (pages
 * that are free and reachable). Memory: one bit a page, one path of pages, one freelist slice.
 */
import { type Bucket, bucketAt, Database, type Pass, rootBuckets } from './database.js';
import {
  BboltError,
  type ByteSource,
  COUNT_MAX,
  getUint64,
  type Meta,
  PAGE_HEADER_BYTES,
  PageKind,
  viewOf,
} from './format.js';
import { type Leaf, Problems } from './tree.js';

/** Buckets within buckets; etcd has none. */
const NESTING_MAX = 16;
const FREELIST_SLICE_BYTES = 64 << 10;
const PROBLEMS_MAX = 100;

export interface CheckVisitor {
  /** The leaves that follow are of this bucket of the root; undefined: of a bucket within a bucket. */
  bucket(name: Uint8Array): void;
  /** A leaf of the last bucket; valid during the call. */
  leaf(leaf: Leaf): void;
}

export interface CheckResult {
  /** Undefined when the file is no database at all. */
  readonly meta: Meta | undefined;
  /** One line each, at most 100; empty when everything holds. */
  readonly problems: readonly string[];
}

/** Checks a database. Problems are returned, not thrown; what the visitor throws is thrown. */
export function checkDatabase(source: ByteSource, visitor?: CheckVisitor): CheckResult {
  const problems = new Problems(PROBLEMS_MAX);
  let database: Database;
  try {
    database = Database.open(source);
  } catch (error) {
    problems.note(error);
    return { meta: undefined, problems: problems.lines };
  }
  if (database.otherMetaProblem !== undefined) problems.add(database.otherMetaProblem);
  const pass = database.pass(problems);
  for (const bucket of rootBuckets(pass)) {
    visitor?.bucket(bucket.name);
    noting(problems, () => checkBucket(pass, bucket, 1, visitor));
    if (problems.full) break;
  }
  // Behind a page that cannot be read lie pages that nothing else reaches: the first problem says it all.
  const complete = problems.lines.length === (database.otherMetaProblem === undefined ? 0 : 1);
  noting(problems, () => checkFreelist(pass, complete));
  return { meta: database.meta, problems: problems.lines };
}

function noting(problems: Problems, check: () => void): void {
  try {
    check();
  } catch (error) {
    problems.note(error);
  }
}

function checkBucket(pass: Pass, bucket: Bucket, nesting: number, visitor: CheckVisitor | undefined): void {
  for (const leaf of bucket.leaves()) {
    visitor?.leaf(leaf);
    for (let at = 0; at < leaf.count; at += 1) {
      if (!leaf.isBucket(at)) continue;
      if (nesting === NESTING_MAX) throw new BboltError(`${leaf.where}: more than ${NESTING_MAX} nested buckets`);
      checkBucket(pass, bucketAt(pass, leaf, at), nesting + 1, undefined);
    }
    if (pass.problems?.full === true) return;
  }
}

/** Claims the freelist and what it lists; then, when the whole tree was walked, nothing may be left. */
function checkFreelist(pass: Pass, complete: boolean): void {
  const { pages, claims } = pass;
  const { freelist, highWater } = pages.meta;
  if (freelist === undefined) return;
  let last = 1;
  for (const page of freePages(pass, freelist)) {
    if (page <= last) throw new BboltError(`page ${freelist}: the free pages ${last} and ${page} do not ascend`);
    if (page >= highWater) throw new BboltError(`page ${freelist}: the free page ${page} is beyond ${highWater} pages`);
    if (!claims.claim(page)) throw new BboltError(`page ${page} is free and in use`);
    last = page;
  }
  const { count, first } = claims.unclaimed();
  if (count > 0 && complete) {
    const others = count === 1 ? '' : `, and so are ${count - 1} others`;
    throw new BboltError(`page ${first} is neither free nor reachable${others}`);
  }
}

/** The ids in the freelist, in slices: it may be as long as the file. */
function* freePages({ pages, claims }: Pass, page: number): Generator<number> {
  const header = pages.claimBlock(page, claims);
  if (header.flags !== PageKind.Freelist) {
    throw new BboltError(`page ${page}: flags ${header.flags}, expected a freelist`);
  }
  const blockBytes = (header.overflow + 1) * pages.meta.pageSize;
  let start = PAGE_HEADER_BYTES;
  let count = header.count;
  if (count === COUNT_MAX) {
    count = getUint64(viewOf(pages.readWithin(page, start, 8)), 0);
    start += 8;
  }
  if (count > (blockBytes - start) / 8) throw new BboltError(`page ${page}: ${count} free pages do not fit into it`);
  for (let done = 0; done < count; ) {
    const inSlice = Math.min(count - done, FREELIST_SLICE_BYTES / 8);
    const view = viewOf(pages.readWithin(page, start + done * 8, inSlice * 8));
    for (let at = 0; at < inSlice; at += 1) yield getUint64(view, at * 8);
    done += inSlice;
  }
}
