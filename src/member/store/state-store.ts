/**
 * A member's replicated state on disk: records by revision and a few small tables, written behind.
 *
 *   put, delete ──> buffer in memory ──commit()──> LMDB, ONE synced transaction with appliedIndex and appliedTerm
 *   get, scan   ──> buffer first, then LMDB
 *
 * Nothing here is durable before commit(); everything is after it. A crash loses what came after the last commit, and
 * the member applies those entries again from its log: the applied index found at open says from where. It is written
 * by every commit, in the transaction that holds exactly the effects of entries up to it, never separately.
 *
 * Invariants: appliedIndex increases; record revisions ascend; every value read back has passed its checksum; after a
 * failed commit the store refuses every further use.
 */
import * as path from 'node:path';
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import type { RecordVisitor, Revision } from '../mvcc/storage.js';
import { type BeforeWrite, Environment, type View, type Visitor, type Writer } from './environment.js';
import { type Files, nodeFiles, nodeFilesUnsynced } from './files.js';
import { getUint64, setUint64, viewOf } from './numbers.js';
import { RecordBuffer } from './record-buffer.js';
import {
  APPLIED_KEY,
  CHECKSUM_BYTES,
  checksumOf,
  decodeSmall,
  END_KEY,
  encodeSmallValue,
  FIRST_KEY,
  isTombstone,
  mainOf,
  RECORD_KEY_BYTES,
  RECORD_PREFIX,
  recordSeed,
  STAMP_KEY,
  seal,
  smallKey,
  subOf,
  type Table,
  TOMBSTONE_KEY_BYTES,
  tableRange,
  unseal,
  writeRecordKey,
} from './schema.js';
import { checkStamp, decodeStamp, encodeStamp, type Stamp } from './stamp.js';
import { StorageError, StorageErrorKind } from './storage-error.js';

export type { Table } from './schema.js';

export interface StateStoreOptions {
  /**
   * The directory of one state generation: stateDirectory(dataDirectory, log.stateGeneration). Created when
   * missing.
   */
  readonly directory: string;
  readonly stamp: Stamp;
  /** Address space reserved; see mapSizeFor(). Sparse. */
  readonly mapSizeBytes: number;
  /** False: commits are not synced; for throw-away clusters. Default true. */
  readonly durable?: boolean;
  /** Called before every commit; may block or throw. For fault injection and metrics. */
  readonly beforeWrite?: BeforeWrite;
  /** Told how long the parts of each commit took. */
  readonly committed?: CommitObserver;
}

/** Milliseconds: deletions, puts, and LMDB's own work with the sync. */
export type CommitObserver = (deleteMs: number, putMs: number, commitMs: number) => void;

/** Told after every commit which keys of the tree were there before and are changed or gone. */
export type CommitFollower = (keys: readonly Uint8Array[]) => void;

interface SmallChange {
  readonly treeKey: Uint8Array;
  /** Undefined: deleted. */
  readonly stored: Uint8Array | undefined;
}

/** Measured (bench/storage.ts): a commit of this much takes 4 ms, and stays below 10 ms at p99. */
const COMMIT_BYTES_MAX = 1 << 20;
const COMMIT_OPERATIONS_MAX = 2000;
const COMMIT_INTERVAL_MS = 100;
/** Key, node header and the pages around it. */
const PUT_OVERHEAD_BYTES = 40;
const GIBIBYTE = 2 ** 30;

/** The map size for a backend quota: deletions and compactions after the quota alarm need pages too. */
export function mapSizeFor(quotaBytes: number): number {
  return Math.ceil((quotaBytes * 2) / GIBIBYTE) * GIBIBYTE + 8 * GIBIBYTE;
}

export class StateStore {
  #environment: Environment;
  readonly #records = new RecordBuffer();
  /** Committed records to delete; keyed for lookup (see deletionKey). */
  readonly #deletions = new Map<number | string, { main: number; sub: number; tombstone: boolean }>();
  readonly #small = new Map<string, SmallChange>();
  readonly #recordKey = new Uint8Array(RECORD_KEY_BYTES);
  readonly #tombstoneKey = new Uint8Array(TOMBSTONE_KEY_BYTES);
  #smallBytes = 0;
  #appliedIndex: number;
  #appliedTerm: number;
  #durableIndex: number;
  /** Greatest revision ever put, so that records ascend across commits. */
  #lastMain = 0;
  #lastSub = 0;
  #pendingSinceMs: number | undefined;
  #follower: CommitFollower | undefined;
  readonly #committed: CommitObserver | undefined;

  /** Throws StorageError: `otherCluster`, `otherMember`, `format`, `inconsistent`, `corrupt`, `io`. */
  static open(options: StateStoreOptions): StateStore {
    const environment = Environment.open({
      what: 'state',
      directory: options.directory,
      mapSizeBytes: options.mapSizeBytes,
      durable: options.durable ?? true,
      beforeWrite: options.beforeWrite,
    });
    try {
      return new StateStore(environment, options);
    } catch (error) {
      void environment.close();
      throw error;
    }
  }

  private constructor(environment: Environment, { directory, stamp, durable = true, committed }: StateStoreOptions) {
    this.#environment = environment;
    this.#committed = committed;
    const found = environment.getCopy(STAMP_KEY);
    if (found === undefined) createState(environment, directory, stamp, durable ? nodeFiles : nodeFilesUnsynced);
    else checkStamp(stamp, decodeStamp(found, directory), directory);
    const applied = environment.get(APPLIED_KEY);
    if (applied === undefined) throw incomplete(directory);
    const view = viewOf(unseal(applied, APPLIED_KEY[0]!));
    this.#appliedIndex = getUint64(view, 0);
    this.#appliedTerm = getUint64(view, 8);
    this.#durableIndex = this.#appliedIndex;
    const lastRecord = environment.lastKey(new Uint8Array([RECORD_PREFIX]), END_KEY);
    if (lastRecord !== undefined) {
      this.#lastMain = mainOf(lastRecord);
      this.#lastSub = subOf(lastRecord);
    }
  }

  // Records.

  /** Buffers a record. Revisions ascend strictly. The value is copied. */
  putRecord(main: number, sub: number, tombstone: boolean, value: Uint8Array): void {
    assert(main > this.#lastMain || (main === this.#lastMain && sub > this.#lastSub), 'records must ascend', {
      main,
      sub,
      lastMain: this.#lastMain,
    });
    this.#records.push(main, sub, tombstone, value);
    this.#lastMain = main;
    this.#lastSub = sub;
  }

  /**
   * The value of a put at this revision, or undefined (none, deleted, or a tombstone). A view that is valid until the
   * next call on any store of this thread: copy to keep. Throws StorageError `corrupt`.
   */
  getRecord(main: number, sub: number): Uint8Array | undefined {
    const records = this.#records;
    if (records.length > 0 && main >= records.mains[0]!) {
      const at = records.find(main, sub);
      if (at >= 0) return records.tombstones[at] ? undefined : withoutChecksum(records.values[at]);
    }
    if (this.#deletions.size > 0 && this.#deletions.has(deletionKey(main, sub))) return undefined;
    writeRecordKey(this.#recordKey, main, sub);
    const stored = this.#environment.get(this.#recordKey);
    return stored === undefined ? undefined : unseal(stored, recordSeed(main, sub));
  }

  /** Buffers the deletion of a record that exists (compaction). */
  deleteRecord(main: number, sub: number, tombstone: boolean): void {
    const at = this.#records.find(main, sub);
    if (at >= 0) this.#records.drop(at);
    else this.#deletions.set(deletionKey(main, sub), { main, sub, tombstone });
  }

  /** Visits committed and buffered records from a revision on, in order. The visitor does not change the store. */
  scanRecords(from: Revision, visit: RecordVisitor): void {
    writeRecordKey(this.#recordKey, from.main, from.sub);
    const start = this.#recordKey.slice();
    let going = true;
    this.#environment.scan(start, END_KEY, (key, stored) => {
      const main = mainOf(key);
      const sub = subOf(key);
      if (this.#deletions.size > 0 && this.#deletions.has(deletionKey(main, sub))) return true;
      const seed = recordSeed(main, sub);
      going = visit(main, sub, isTombstone(key), unseal(stored, seed), checksumOf(stored), seed);
      return going;
    });
    const records = this.#records;
    for (let at = records.position(from.main, from.sub); going && at < records.length; at += 1) {
      const sealed = records.values[at];
      const value = withoutChecksum(sealed);
      if (sealed === undefined || value === undefined) continue;
      const main = records.mains[at]!;
      const sub = records.subs[at]!;
      going = visit(main, sub, records.tombstones[at]!, value, checksumOf(sealed), recordSeed(main, sub));
    }
  }

  // Small tables.

  /** The value, valid until the next call; undefined when there is none. Throws StorageError `corrupt`. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    const treeKey = smallKey(table, key);
    const changed = this.#small.get(nameOf(treeKey));
    const stored = changed === undefined ? this.#environment.get(treeKey) : changed.stored;
    return stored === undefined ? undefined : decodeSmall(treeKey, stored).value;
  }

  /** Key and value are copied. */
  put(table: Table, key: Uint8Array, value: Uint8Array): void {
    const treeKey = smallKey(table, key);
    this.#changeSmall(treeKey, encodeSmallValue(treeKey, key, value));
  }

  delete(table: Table, key: Uint8Array): void {
    this.#changeSmall(smallKey(table, key), undefined);
  }

  /** All entries of a table in the order of their keys; the caller's to keep. */
  list(table: Table): [key: Uint8Array, value: Uint8Array][] {
    const { start, end } = tableRange(table);
    const found: [Uint8Array, Uint8Array][] = [];
    this.#environment.scan(start, end, (treeKey, stored) => {
      if (this.#small.has(nameOf(treeKey))) return true;
      const { key, value } = decodeSmall(treeKey, stored);
      found.push([key.slice(), value.slice()]);
      return true;
    });
    for (const { treeKey, stored } of this.#small.values()) {
      if (treeKey[0] !== start[0] || stored === undefined) continue;
      const { key, value } = decodeSmall(treeKey, stored);
      found.push([key.slice(), value.slice()]);
    }
    return found.sort(([left], [right]) => compareBytes(left, right));
  }

  // Applied index and commit.

  /** The entry whose effects are complete in the buffer now. */
  setApplied(index: number, term: number): void {
    assert(index > this.#appliedIndex && term >= this.#appliedTerm, 'applied index goes back', {
      index,
      term,
      applied: this.#appliedIndex,
      appliedTerm: this.#appliedTerm,
    });
    this.#appliedIndex = index;
    this.#appliedTerm = term;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  /** The applied index on disk: the log must keep everything after it. */
  get durableAppliedIndex(): number {
    return this.#durableIndex;
  }

  /** Bytes that the next commit will put. */
  get pendingBytes(): number {
    return this.#records.bytes + this.#smallBytes + this.pendingOperations * PUT_OVERHEAD_BYTES;
  }

  /** Puts and deletions that the next commit will make. */
  get pendingOperations(): number {
    return this.#records.length + this.#deletions.size + this.#small.size;
  }

  /**
   * Commits when something is pending for 100 ms, or so much that a later commit would take longer than a turn may.
   * `nowMs`: any monotone clock. Returns whether it committed. Throws as commit().
   */
  commitIfDue(nowMs: number): boolean {
    if (this.#appliedIndex === this.#durableIndex && this.pendingOperations === 0) {
      this.#pendingSinceMs = undefined;
      return false;
    }
    this.#pendingSinceMs ??= nowMs;
    const due =
      nowMs - this.#pendingSinceMs >= COMMIT_INTERVAL_MS ||
      this.pendingOperations >= COMMIT_OPERATIONS_MAX ||
      this.pendingBytes >= COMMIT_BYTES_MAX;
    if (due) this.commit();
    return due;
  }

  /**
   * One synced transaction with everything buffered and the applied index. Throws StorageError `mapFull` (nothing was
   * written, the store stays usable) or `io` (final).
   */
  commit(): void {
    if (this.#appliedIndex === this.#durableIndex && this.pendingOperations === 0) return;
    const beganMs = performance.now();
    let [deletedMs, putMs] = [beganMs, beganMs];
    this.#environment.commit(this.pendingBytes, writer => {
      this.#deleteRecords(writer);
      deletedMs = performance.now();
      for (const { treeKey, stored } of this.#small.values()) {
        if (stored === undefined) writer.remove(treeKey);
        else writer.put(treeKey, stored);
      }
      writer.put(APPLIED_KEY, encodeApplied(this.#appliedIndex, this.#appliedTerm));
      this.#appendRecords(writer);
      putMs = performance.now();
    });
    this.#committed?.(deletedMs - beganMs, putMs - deletedMs, performance.now() - putMs);
    this.#durableIndex = this.#appliedIndex;
    if (this.#follower !== undefined) this.#follower(this.#changedKeys());
    this.#records.clear();
    this.#deletions.clear();
    this.#small.clear();
    this.#smallBytes = 0;
    this.#pendingSinceMs = undefined;
  }

  // Size, views, end.

  /** Bytes of the file that were ever allocated: etcd's dbSize. As of the last commit. */
  sizeBytes(): number {
    return this.#environment.sizeBytes();
  }

  /** Bytes in pages that hold something: etcd's dbSizeInUse. As of the last commit. */
  sizeInUseBytes(): number {
    return this.#environment.sizeInUseBytes();
  }

  /** Views that are held. */
  get heldViews(): number {
    return this.#environment.heldViews;
  }

  /** Everything that is committed, as it is in the tree, for as long as the view is held. Nothing may be pending. */
  holdView(): View {
    assert(this.pendingOperations === 0, 'a view was asked for with changes pending');
    return this.#environment.holdView();
  }

  // Another file for the same state (defragmenter.ts).

  /** Who hears of commits; undefined: nobody. */
  follow(follower: CommitFollower | undefined): void {
    this.#follower = follower;
  }

  /** Committed entries behind `after` as they stand in the tree, in order. The value is valid during the call only. */
  scanTree(after: Uint8Array, visit: Visitor): void {
    this.#environment.scan(after, END_KEY, (key, value) => compareBytes(key, after) <= 0 || visit(key, value));
  }

  /** A committed entry's value as it stands in the tree: the caller's to keep. */
  readTree(treeKey: Uint8Array): Uint8Array | undefined {
    return this.#environment.getCopy(treeKey);
  }

  /** How many entries are committed. */
  treeEntries(): number {
    return this.#environment.entries();
  }

  /** Goes on with an environment that holds the same; the caller closes the former one, which is returned. */
  adopt(environment: Environment): Environment {
    assert(
      this.pendingOperations === 0 && this.#durableIndex === this.#appliedIndex,
      'an environment is exchanged right behind a commit',
    );
    const former = this.#environment;
    this.#environment = environment;
    return former;
  }

  /** Closes without committing. Idempotent. */
  close(): Promise<void> {
    return this.#environment.close();
  }

  #changedKeys(): Uint8Array[] {
    const keys = [...this.#small.values()].map(({ treeKey }) => treeKey);
    for (const { main, sub, tombstone } of this.#deletions.values())
      keys.push(this.#keyOf(main, sub, tombstone).slice());
    return keys;
  }

  #changeSmall(treeKey: Uint8Array, stored: Uint8Array | undefined): void {
    const name = nameOf(treeKey);
    this.#smallBytes += (stored?.length ?? 0) - (this.#small.get(name)?.stored?.length ?? 0);
    this.#small.set(name, { treeKey, stored });
  }

  #deleteRecords(writer: Writer): void {
    if (this.#deletions.size === 0) return;
    const deletions = [...this.#deletions.values()].sort((a, b) => a.main - b.main || a.sub - b.sub);
    for (const { main, sub, tombstone } of deletions) {
      assert(writer.remove(this.#keyOf(main, sub, tombstone)), 'record to delete does not exist', { main, sub });
    }
  }

  #appendRecords(writer: Writer): void {
    const { mains, subs, tombstones, values } = this.#records;
    for (let at = 0; at < mains.length; at += 1) {
      const value = values[at];
      if (value !== undefined) writer.append(this.#keyOf(mains[at]!, subs[at]!, tombstones[at]!), value);
    }
  }

  #keyOf(main: number, sub: number, tombstone: boolean): Uint8Array {
    const key = tombstone ? this.#tombstoneKey : this.#recordKey;
    writeRecordKey(key, main, sub);
    return key;
  }
}

/** The first commit of a new state. Throws StorageError `inconsistent` when there is content without a stamp. */
function createState(environment: Environment, directory: string, stamp: Stamp, files: Files): void {
  environment.scanKeys(FIRST_KEY, END_KEY, 1, () => {
    throw incomplete(directory);
  });
  environment.commit(0, writer => {
    writer.put(STAMP_KEY, encodeStamp(stamp));
    writer.put(APPLIED_KEY, encodeApplied(0, 0));
  });
  files.syncDirectory(directory);
  files.syncDirectory(path.dirname(directory));
}

function incomplete(directory: string): StorageError {
  return new StorageError(
    StorageErrorKind.Inconsistent,
    `${directory} holds an incomplete state: it was never finished or lost a part`,
  );
}

function encodeApplied(index: number, term: number): Uint8Array {
  const bytes = new Uint8Array(16 + CHECKSUM_BYTES);
  const view = viewOf(bytes);
  setUint64(view, 0, index);
  setUint64(view, 8, term);
  seal(bytes, APPLIED_KEY[0]!);
  return bytes;
}

function withoutChecksum(sealed: Uint8Array | undefined): Uint8Array | undefined {
  return sealed?.subarray(0, sealed.length - CHECKSUM_BYTES);
}

function deletionKey(main: number, sub: number): number | string {
  return sub === 0 ? main : `${main}_${sub}`;
}

function nameOf(treeKey: Uint8Array): string {
  return Buffer.prototype.latin1Slice.call(treeKey, 0, treeKey.length);
}
