/**
 * A bbolt database, read in passes: its buckets in the order of their names, each bucket's leaves in the order of keys.
 *
 * Buckets lie in the tree of the root page: an element whose value is {root u64, sequence u64} and, when root is 0, the
 * bucket's only leaf itself. In one pass every page may be reached once, over all buckets together; a bucket is read
 * once in a pass. What a pass hands out has been checked (tree.ts); it holds no more in memory than one path of pages.
 */
import {
  BboltError,
  BUCKET_HEADER_BYTES,
  type ByteSource,
  getUint64,
  type Meta,
  type Metas,
  readMetas,
  viewOf,
} from './format.js';
import { Claims, Pages } from './pages.js';
import { inlineLeaf, type Leaf, type Problems, treeLeaves } from './tree.js';

export class Database {
  readonly meta: Meta;
  /** What is wrong with the meta page that does not count. */
  readonly otherMetaProblem: string | undefined;
  readonly #pages: Pages;

  private constructor(source: ByteSource, { current, otherProblem }: Metas) {
    this.meta = current;
    this.otherMetaProblem = otherProblem;
    this.#pages = new Pages(source, current);
  }

  /** Throws BboltError when this is no database, or one that is cut short. */
  static open(source: ByteSource): Database {
    return new Database(source, readMetas(source));
  }

  /** Bytes of the pages in use: what the size of a snapshot is. */
  get sizeBytes(): number {
    return this.meta.highWater * this.meta.pageSize;
  }

  /** One pass. Throws BboltError. */
  buckets(): Generator<Bucket> {
    return rootBuckets(this.pass());
  }

  /** A pass of which the caller sees what it claimed. With `problems` these are noted and stepped over. */
  pass(problems?: Problems): Pass {
    return { pages: this.#pages, claims: new Claims(this.meta.highWater), problems };
  }
}

export interface Pass {
  readonly pages: Pages;
  readonly claims: Claims;
  readonly problems: Problems | undefined;
}

/** A bucket in a pass over its database. */
export class Bucket {
  readonly name: Uint8Array;
  readonly #pass: Pass;
  /** The element's value: the bucket's header and, for an inline bucket, its leaf. */
  readonly #value: Uint8Array;

  constructor(pass: Pass, name: Uint8Array, value: Uint8Array) {
    this.#pass = pass;
    this.name = name;
    this.#value = value;
  }

  /** To be called once. Throws BboltError, unless the pass collects problems. */
  *leaves(): Generator<Leaf> {
    const { pages, claims, problems } = this.#pass;
    const root = getUint64(viewOf(this.#value), 0);
    if (root !== 0) {
      yield* treeLeaves(pages, root, claims, problems);
      return;
    }
    let leaf: Leaf | undefined;
    try {
      leaf = inlineLeaf(this.#value.subarray(BUCKET_HEADER_BYTES), `bucket ${printable(this.name)}`);
    } catch (error) {
      if (problems === undefined) throw error;
      problems.note(error);
    }
    if (leaf !== undefined) yield leaf;
  }

  /** Keys and values as views; that of a bucket in this bucket has an empty value. To be called once. */
  *entries(): Generator<[key: Uint8Array, value: Uint8Array]> {
    for (const leaf of this.leaves()) {
      for (let at = 0; at < leaf.count; at += 1) {
        yield [leaf.key(at), leaf.isBucket(at) ? leaf.value(at).subarray(0, 0) : leaf.value(at)];
      }
    }
  }
}

/** The buckets of the root's tree, which holds nothing else. */
export function* rootBuckets(pass: Pass): Generator<Bucket> {
  for (const leaf of treeLeaves(pass.pages, pass.pages.meta.root, pass.claims, pass.problems)) {
    for (let at = 0; at < leaf.count; at += 1) {
      try {
        if (!leaf.isBucket(at)) throw new BboltError(`${leaf.where}: ${printable(leaf.key(at))} is no bucket`);
        yield bucketAt(pass, leaf, at);
      } catch (error) {
        if (pass.problems === undefined) throw error;
        pass.problems.note(error);
      }
    }
  }
}

/** The bucket in a leaf's element. Throws BboltError when its value is too short. */
export function bucketAt(pass: Pass, leaf: Leaf, at: number): Bucket {
  const value = leaf.value(at);
  if (value.length < BUCKET_HEADER_BYTES) {
    throw new BboltError(`${leaf.where}: the bucket ${printable(leaf.key(at))} has a header of ${value.length} bytes`);
  }
  return new Bucket(pass, leaf.key(at), value);
}

/** A name for messages: one short line whatever the bytes are. */
export function printable(name: Uint8Array): string {
  let text = '';
  for (const byte of name.subarray(0, 40)) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x5c;
    text += plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return name.length > 40 ? `${text}…` : text;
}
