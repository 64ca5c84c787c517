/**
 * One LMDB environment, opened the one way that is durable here.
 *
 *   - overlappingSync off: a commit is on disk when it returns, never "visible first, flushed later".
 *   - safeRestore on: nothing that was not flushed is ever trusted by a reopen. (With overlappingSync off LMDB has no
 *     unflushed commit to trust: the flag guards the day somebody turns the other one on.)
 *   - synchronous transactions only, all through commit(): one place that writes, fails and is measured. No
 *     asynchronous puts: they keep pointers to their values.
 *   - one unnamed tree, binary keys and values; tables are key prefixes (schema of the owner). One tree means one path
 *     of dirty pages a commit and an exact count of the pages in use.
 *   - mapSize is reserved address space (sparse), fixed at open. LMDB would grow it by itself under the feet of other
 *     readers, so a commit that might not fit is refused before it begins.
 *
 * Invariants: after a failed commit the environment refuses every further use (a later fsync can succeed although the
 * pages of the failed one are gone). One Environment per file and process; close() is awaited before it is reopened.
 * The thread that has one open is never terminated from outside.
 */
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import type { RootDatabase } from 'lmdb';
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import { asStorageError, StorageError, StorageErrorKind } from './storage-error.js';

/** lmdb's CommonJS build is one file; its ES modules cost a starting member thread twice as much (43 against 21 ms). */
const { open } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');

/** Called before bytes go to disk; may block (a slow disk) or throw (a failing one). `bytes` is an estimate. */
export type BeforeWrite = (what: 'wal' | 'log' | 'state', bytes: number) => void;

export interface EnvironmentOptions {
  readonly what: 'log' | 'state';
  /** A directory; created when missing. */
  readonly directory: string;
  readonly mapSizeBytes: number;
  /** False: commits are not synced. For throw-away clusters only. */
  readonly durable: boolean;
  readonly beforeWrite?: BeforeWrite | undefined;
}

/** False stops the scan. The key is the visitor's to keep, the value is valid during the call only. */
export type Visitor = (key: Uint8Array, value: Uint8Array) => boolean;

/** What a commit may do. Keys and values are copied by LMDB before the call returns. */
export interface Writer {
  put(key: Uint8Array, value: Uint8Array): void;
  /** Put of a key greater than every key present: fills pages completely. Throws when the key is not. */
  append(key: Uint8Array, value: Uint8Array): void;
  /** False when there was no such key. */
  remove(key: Uint8Array): boolean;
}

const APPEND = { append: true };
const PAGE_RESERVE = 1024;
/** Keys as they are; read ones are Uint8Arrays of their own, not Buffers. */
const PLAIN_KEYS = {
  writeKey: (key: Uint8Array, target: Uint8Array, start: number): number => {
    target.set(key, start);
    return start + key.length;
  },
  readKey: (source: Uint8Array, start: number, end: number): Uint8Array => {
    const key = new Uint8Array(end - start);
    for (let at = start; at < end; at += 1) key[at - start] = source[at]!;
    return key;
  },
};
/**
 * Values as they are: a put takes the caller's bytes, a scan shows the library's buffer (its `length` is the
 * value's).
 */
const NO_COPIES = {
  encode: (value: Uint8Array): Uint8Array => value,
  decode: (bytes: Uint8Array, length = bytes.length): Uint8Array =>
    new Uint8Array(bytes.buffer, bytes.byteOffset, length),
};

/** Of an LMDB meta page: where its magic and its transaction id stand, and where the second one begins by page size. */
const META_MAGIC = { at: 24, value: 0xbeefc0de } as const;
const META_TRANSACTION_AT = 152;
const META_OFFSETS = [0, 4096, 16384, 65536] as const;
const META_BYTES = 160;

/**
 * Removes what a power cut left of an environment that was being made: LMDB writes the first two pages without a sync,
 * and dies of a segmentation fault on a file whose pages never came to be. An environment without any committed
 * transaction holds nothing; one with a commit is never touched.
 */
function removeUnborn(directory: string): void {
  const file = path.join(directory, 'data.mdb');
  if (!fs.existsSync(file)) return;
  const page = Buffer.alloc(META_BYTES);
  const descriptor = fs.openSync(file, 'r');
  try {
    for (const offset of META_OFFSETS) {
      const read = fs.readSync(descriptor, page, 0, META_BYTES, offset);
      const isMeta = read === META_BYTES && page.readUInt32LE(META_MAGIC.at) === META_MAGIC.value;
      if (isMeta && page.readBigUInt64LE(META_TRANSACTION_AT) > 0n) return;
    }
  } finally {
    fs.closeSync(descriptor);
  }
  fs.rmSync(file);
  fs.rmSync(path.join(directory, 'lock.mdb'), { force: true });
}

export class Environment {
  readonly #database: RootDatabase<Uint8Array, Uint8Array>;
  readonly #what: 'log' | 'state';
  readonly #mapSizeBytes: number;
  readonly #beforeWrite: BeforeWrite | undefined;
  readonly #writer: Writer;
  #state: 'open' | 'writing' | 'failed' | 'closed' = 'open';
  #pageBytes = 4096;
  #pagesAllocated = 0;
  #pagesInUse = 0;
  #entries = 0;
  #statsAreCurrent = false;
  /** Read transactions that are held: the file is closed when the last of them is done. */
  #views = 0;
  #closed: Promise<void> | undefined;
  #lastViewDone: () => void = () => {};

  /** Throws StorageError `io` when LMDB cannot open it. */
  static open(options: EnvironmentOptions): Environment {
    removeUnborn(options.directory);
    return new Environment(options);
  }

  private constructor(options: EnvironmentOptions) {
    this.#what = options.what;
    this.#mapSizeBytes = options.mapSizeBytes;
    this.#beforeWrite = options.beforeWrite;
    const lmdbOptions = {
      path: options.directory,
      noSubdir: false,
      mapSize: options.mapSizeBytes,
      maxDbs: 1,
      permissionsMode: 0o600,
      encoding: 'binary' as const,
      encoder: NO_COPIES,
      keyEncoder: PLAIN_KEYS,
      compression: false,
      cache: false,
      overlappingSync: false,
      safeRestore: true,
      noSync: !options.durable,
    };
    try {
      this.#database = open<Uint8Array, Uint8Array>(lmdbOptions);
    } catch (error) {
      throw asStorageError(error, `cannot open the ${options.what} environment ${options.directory}`);
    }
    const database = this.#database;
    this.#writer = {
      put: (key, value) => {
        assert(database.putSync(key, value) as unknown as boolean, 'LMDB refused a put');
      },
      append: (key, value) => {
        // Typed as taking a version there; the library's own source takes these options (write.js, putSync).
        const done = database.putSync(key, value, APPEND as never) as unknown as boolean;
        assert(done, 'appended key is not greater than every key present');
      },
      remove: key => database.removeSync(key),
    };
  }

  /** The value, or undefined. A view into a buffer that the next call on any environment of this thread overwrites. */
  get(key: Uint8Array): Uint8Array | undefined {
    if (this.#state !== 'open') this.#refuse();
    const found = this.#database.getBinaryFast(key);
    return found === undefined ? undefined : new Uint8Array(found.buffer, found.byteOffset, found.length);
  }

  /** A copy of the value that stays valid. */
  getCopy(key: Uint8Array): Uint8Array | undefined {
    return this.get(key)?.slice();
  }

  /** Entries with start <= key < end in order, until the visitor returns false. */
  scan(start: Uint8Array, end: Uint8Array, visit: Visitor): void {
    if (this.#state !== 'open') this.#refuse();
    for (const { key, value } of this.#database.getRange({ start, end })) {
      if (!visit(key, value)) return;
    }
  }

  /** Keys with start <= key < end in order, at most `limit`. */
  scanKeys(start: Uint8Array, end: Uint8Array, limit: number, visit: (key: Uint8Array) => void): void {
    if (this.#state !== 'open') this.#refuse();
    for (const key of this.#database.getKeys({ start, end, limit })) visit(key);
  }

  /** The greatest key with start <= key < end, or undefined. */
  lastKey(start: Uint8Array, end: Uint8Array): Uint8Array | undefined {
    if (this.#state !== 'open') this.#refuse();
    for (const key of this.#database.getKeys({ start: end, end: start, reverse: true, limit: 2 })) {
      if (compareBytes(key, end) < 0) return compareBytes(key, start) >= 0 ? key : undefined;
    }
    return undefined;
  }

  /**
   * One transaction, on disk when this returns. `bytesEstimate` is what `changes` will put, keys included.
   * Throws StorageError `mapFull` before anything is changed, `io` after which the environment is unusable.
   */
  commit(bytesEstimate: number, changes: (writer: Writer) => void): void {
    if (this.#state !== 'open') this.#refuse();
    this.#checkRoom(bytesEstimate);
    this.#state = 'writing';
    try {
      this.#beforeWrite?.(this.#what, bytesEstimate);
      this.#database.transactionSync(() => changes(this.#writer));
    } catch (error) {
      this.#state = 'failed';
      throw asStorageError(error, `commit of the ${this.#what} failed`);
    }
    this.#state = 'open';
    this.#statsAreCurrent = false;
  }

  /** A read transaction that sees the last commit for as long as it is held; release it with done(). */
  holdView(): View {
    if (this.#state !== 'open') this.#refuse();
    const transaction = this.#database.useReadTransaction();
    let held = true;
    this.#views += 1;
    return {
      scan: (start, end, visit) => {
        for (const { key, value } of this.#database.getRange({ start, end, transaction })) {
          if (!visit(key, value)) return;
        }
      },
      done: () => {
        if (!held) return;
        held = false;
        transaction.done();
        this.#views -= 1;
        if (this.#views === 0) this.#lastViewDone();
      },
    };
  }

  /** Bytes of the file that were ever allocated: what etcd calls dbSize. */
  sizeBytes(): number {
    this.#readStats();
    return this.#pagesAllocated * this.#pageBytes;
  }

  /** Bytes of pages that hold something: what etcd calls dbSizeInUse. */
  sizeInUseBytes(): number {
    this.#readStats();
    return this.#pagesInUse * this.#pageBytes;
  }

  /** How many keys there are. */
  entries(): number {
    this.#readStats();
    return this.#entries;
  }

  /** Read transactions that are held. */
  get heldViews(): number {
    return this.#views;
  }

  get failed(): boolean {
    return this.#state === 'failed';
  }

  /**
   * Idempotent. Nothing is flushed: every commit already was. The file is closed when the call returns, so that it may
   * be opened again, unless views are held: they go on seeing their commit, and the promise resolves behind the last.
   */
  close(): Promise<void> {
    if (this.#closed !== undefined) return this.#closed;
    this.#state = 'closed';
    this.#closed =
      this.#views === 0
        ? this.#database.close()
        : new Promise((resolve, reject) => {
            this.#lastViewDone = () => this.#database.close().then(resolve, reject);
          });
    return this.#closed;
  }

  #checkRoom(bytesEstimate: number): void {
    this.#readStats();
    // Twice the bytes: half-filled pages and the copies of the path to the root. Free pages are left out on purpose.
    const pagesNeeded = Math.ceil((bytesEstimate * 2) / this.#pageBytes) + PAGE_RESERVE;
    const free = Math.floor(this.#mapSizeBytes / this.#pageBytes) - this.#pagesAllocated;
    const reusable = this.#pagesAllocated - this.#pagesInUse;
    if (pagesNeeded <= free + (bytesEstimate < this.#pageBytes * PAGE_RESERVE ? reusable : 0)) return;
    throw new StorageError(
      StorageErrorKind.MapFull,
      `the ${this.#what} environment is full: ${bytesEstimate} bytes more do not fit into ${this.#mapSizeBytes} ` +
        `bytes of which ${this.#pagesAllocated * this.#pageBytes} are allocated`,
    );
  }

  #readStats(): void {
    if (this.#statsAreCurrent) return;
    if (this.#state !== 'open') this.#refuse();
    const stats = this.#database.getStats() as LmdbStats;
    this.#pageBytes = stats.pageSize;
    this.#pagesAllocated = stats.lastPageNumber + 1;
    this.#entries = stats.entryCount;
    this.#pagesInUse = META_PAGES + pagesOf(stats) + pagesOf(stats.free);
    this.#statsAreCurrent = true;
  }

  #refuse(): never {
    assert(this.#state !== 'writing', 'environment used inside its own commit');
    throw new StorageError(
      StorageErrorKind.Unusable,
      this.#state === 'closed'
        ? `the ${this.#what} environment is closed`
        : `the ${this.#what} environment failed earlier and is not used again`,
    );
  }
}

/** A consistent view of one commit. */
export interface View {
  scan(start: Uint8Array, end: Uint8Array, visit: Visitor): void;
  done(): void;
}

const META_PAGES = 2;

interface LmdbTreeStats {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

interface LmdbStats extends LmdbTreeStats {
  readonly lastPageNumber: number;
  readonly entryCount: number;
  readonly free: LmdbTreeStats;
}

function pagesOf(tree: LmdbTreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages;
}
