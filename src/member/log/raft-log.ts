/**
 * The raft log and hard state of one member: a write-ahead file in front of LMDB, the newest entries in memory.
 *
 *   append ──> write-ahead file ──> memory ──later, in pieces──> LMDB
 *              one write, one sync                               one synced transaction each
 *                     └──── reused only after LMDB holds its records ────┘
 *
 * What is durable when:
 *   - append() returns: its entries and the hard state, together, in one record. Either both are there after a crash or
 *     neither is. Without entries and with mustSync false nothing is written: a hard state in which only `commit` moved
 *     travels with the next write.
 *   - setConfState(), bootstrap(), installSnapshot() return: what they were given.
 *   - compact() returns: nothing yet, the next write carries it; until then a crash may bring compacted entries back,
 *     which does no harm.
 *   - a snapshot: first the new state directory is complete and synced (state transfer), then installSnapshot() names
 *     it in the same transaction that empties the log, moves the commit index and stores the configuration. A crash
 *     before leaves the old state and the old log, a crash after the new state and the empty log.
 *   - the state store's applied index may run ahead of the commit index stored here (that one may lag); reconcile()
 *     raises it at start: what was applied was committed.
 *
 * Invariants: entries are contiguous from firstIndex() to lastIndex(); each is in memory or in LMDB (log-tail.ts);
 * nothing at or below the commit index is ever replaced. After any error of a write the log refuses every further
 * write.
 */
import { assert } from '../../base/assert.js';
import {
  type ConfState,
  type Entry,
  entryBytes,
  type HardState,
  type LogStorage,
  type SnapshotMetadata,
} from '../raft/types.js';
import type { BeforeWrite } from '../store/environment.js';
import type { Stamp } from '../store/stamp.js';
import { asStorageError, StorageError, StorageErrorKind } from '../store/storage-error.js';
import type { ConfStateHistory } from './conf-state-history.js';
import { confStateAt, confStatesFrom, confStatesUpTo, withConfState } from './conf-state-history.js';
import { Scratch } from './log-codec.js';
import type { LogEnvironment, LogMeta } from './log-environment.js';
import { type OpenedLog, openLog, type RaftLogOptions } from './log-open.js';
import { hardStateAfterSnapshot, latestCompaction, lostEntries } from './log-recovery.js';
import { LogTail } from './log-tail.js';
import { WAL_RECORD_HEADER_BYTES } from './wal-file.js';
import { type LogRecord, logRecordBytes, readLogRecord, writeConfStateRecord, writeLogRecord } from './wal-record.js';
import type { WriteAheadLog } from './write-ahead-log.js';

export type { RaftLogOptions } from './log-open.js';

const CACHE_BYTES_DEFAULT = 16 << 20;
const SCRATCH_BYTES = 64 << 10;
const SCRATCH_KEEP_BYTES = 1 << 20;
/** One move takes at most this much, however few entries it is. */
const MOVE_ENTRIES_MAX_DEFAULT = 1024;
const MOVE_BYTES_MAX = 1 << 20;
const REMOVE_ENTRIES_MAX = 1024;
const MOVE_FROM_RATIO = 0.5;
/** A quiet log is moved to LMDB after this long. */
const IDLE_MS = 1000;

export class RaftLog implements LogStorage {
  readonly stamp: Stamp;
  readonly #environment: LogEnvironment;
  readonly #wal: WriteAheadLog;
  readonly #moveEntriesMax: number;
  readonly #beforeWrite: BeforeWrite | undefined;
  readonly #scratch = new Scratch(SCRATCH_BYTES);
  readonly #tail: LogTail;
  #hardState: HardState;
  /** The hard state differs from what the last write carried. */
  #hardStateIsNews = false;
  #confStates: ConfStateHistory;
  #compactedTerm: number;
  /** No write has carried the latest compaction yet. */
  #compactionIsNews = false;
  #stateGeneration: number;
  #bootstrapped: boolean;
  /** No entry below is in LMDB; what is there up to the compacted index is garbage. */
  #presentFirst: number;
  /** No entry from here on is in LMDB; what is there behind movedIndex was replaced. */
  #presentEnd: number;
  #activitySequence = 0;
  #activityMs = 0;
  #state: 'open' | 'failed' | 'closed' = 'open';

  /**
   * Opens or creates the log in `directory`. Throws StorageError with a text for the operator: `otherCluster`,
   * `otherMember`, `format`, `inconsistent` (parts are missing), `corrupt`, `io`.
   */
  static open(options: RaftLogOptions): RaftLog {
    const opened = openLog(options);
    try {
      return new RaftLog(options, opened);
    } catch (error) {
      opened.wal.close();
      void opened.environment.close();
      throw asStorageError(error, `cannot open the log in ${options.directory}`);
    }
  }

  private constructor(options: RaftLogOptions, { environment, meta, recovered, wal }: OpenedLog) {
    this.stamp = meta.stamp;
    this.#environment = environment;
    this.#wal = wal;
    this.#moveEntriesMax = options.moveEntriesMax ?? MOVE_ENTRIES_MAX_DEFAULT;
    this.#beforeWrite = options.beforeWrite;
    this.#hardState = meta.hardState;
    this.#confStates = meta.confStates;
    this.#stateGeneration = meta.stateGeneration;
    this.#bootstrapped = meta.bootstrapped;
    this.#presentEnd = meta.lastIndex + 1;
    this.#presentFirst = environment.presentIndexes(0, Number.MAX_SAFE_INTEGER, 1)[0] ?? this.#presentEnd;
    const records = recovered.records.map(readLogRecord);
    const compaction = latestCompaction(meta, records);
    this.#compactedTerm = compaction.term;
    this.#tail = new LogTail(compaction.index, meta.lastIndex, options.cacheBytesMax ?? CACHE_BYTES_DEFAULT);
    for (const record of records) this.#replay(record);
    this.#confStates = confStatesFrom(this.#confStates, compaction.index);
    if (this.#hardState.commit > this.lastIndex()) throw lostEntries(this.#hardState.commit, this.lastIndex());
    // What was read from the files may never have reached the disk: after a failed sync it is still in the page cache, and
    // a later sync would succeed without it. Moved to LMDB it is written anew, before anything is appended behind it.
    while (this.#tail.waiting.length > 0 || wal.waitsForMove) this.#movePiece();
    wal.start();
  }

  // Reading: LogStorage.

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: confStateAt(this.#confStates, this.lastIndex()) };
  }

  firstIndex(): number {
    return this.#tail.firstIndex;
  }

  lastIndex(): number {
    return this.#tail.lastIndex;
  }

  term(index: number): number | undefined {
    const compactedIndex = this.#tail.firstIndex - 1;
    if (index === compactedIndex) return this.#compactedTerm;
    if (index < compactedIndex || index > this.#tail.lastIndex) return undefined;
    return (this.#tail.cached(index) ?? this.#environment.readEntry(index)).term;
  }

  entries(lo: number, hi: number, bytesMax: number): Entry[] {
    assert(lo >= this.firstIndex() && lo < hi && hi <= this.lastIndex() + 1, 'log read out of bounds', { lo, hi });
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = lo; index < hi; index += 1) {
      const entry = this.#tail.cached(index) ?? this.#environment.readEntry(index);
      bytes += entryBytes(entry);
      if (bytes > bytesMax && found.length > 0) break;
      found.push(entry);
    }
    return found;
  }

  snapshotMetadata(): SnapshotMetadata {
    return this.metadataAt(this.firstIndex() - 1);
  }

  /** Term and configuration as of an index in [firstIndex() - 1, lastIndex()] that was applied. */
  metadataAt(index: number): SnapshotMetadata {
    const term = this.term(index);
    assert(term !== undefined, 'no term for this index', { index, first: this.firstIndex(), last: this.lastIndex() });
    return { index, term, confState: confStateAt(this.#confStates, index) };
  }

  /** Which `state-<n>` directory belongs to this log. */
  get stateGeneration(): number {
    return this.#stateGeneration;
  }

  /** False until bootstrap(), the first append() or installSnapshot(): nothing was ever promised from here. */
  get bootstrapped(): boolean {
    return this.#bootstrapped;
  }

  /** Bytes of the log's environment on disk, without the two write-ahead files. */
  sizeBytes(): number {
    return this.#environment.sizeBytes();
  }

  // Writing.

  /** The first content of a new cluster's member: all at once, durable on return. */
  bootstrap(entries: readonly Entry[], hardState: HardState, confState: ConfState): void {
    this.#checkUsable();
    assert(!this.#bootstrapped, 'log bootstrapped twice');
    this.#checkEntries(entries);
    this.#guard(() => {
      this.#tail.acceptUnrecorded(entries);
      this.#hardState = hardState;
      this.#confStates = [{ index: 0, confState }];
      this.#bootstrapped = true;
      this.#move(entries.length, Number.MAX_SAFE_INTEGER);
    });
  }

  /**
   * Appends entries, replacing what stands at the first one's index and after, and stores the hard state. Durable on
   * return, except that without entries and with `mustSync` false nothing is written. Entries are kept by reference:
   * their data must not change. Throws StorageError; final.
   */
  append(entries: readonly Entry[], hardState: HardState | undefined, mustSync: boolean): void {
    this.#checkUsable();
    this.#checkEntries(entries);
    if (entries.length === 0 && !mustSync) {
      if (hardState !== undefined) this.#setHardState(hardState);
      return;
    }
    const stored = hardState ?? (this.#hardStateIsNews ? this.#hardState : undefined);
    if (entries.length === 0 && stored === undefined) return;
    this.#guard(() => this.#appendRecord(entries, stored));
    if (hardState !== undefined) this.#hardState = hardState;
    this.#hardStateIsNews = false;
    this.#bootstrapped = true;
  }

  /** The configuration that applying entry `index` brought. Durable on return. Before the state commits that index. */
  setConfState(confState: ConfState, index: number): void {
    this.#checkUsable();
    assert(index <= this.lastIndex(), 'configuration of an entry that is not in the log', { index });
    const scratch = this.#beginRecord();
    const type = writeConfStateRecord(scratch, { index, confState });
    this.#guard(() => {
      this.#makeRoom(scratch.length - WAL_RECORD_HEADER_BYTES);
      this.#writeRecord(type, []);
    });
    this.#confStates = withConfState(this.#confStates, { index, confState });
  }

  /**
   * Forgets entries up to and including `toIndex`. The state store must have committed that index durably: replay
   * starts behind it. Space is given back by later moves.
   */
  compact(toIndex: number): void {
    this.#checkUsable();
    if (toIndex < this.firstIndex()) return;
    const term = this.term(toIndex);
    assert(term !== undefined && toIndex <= this.#hardState.commit, 'compaction beyond the commit index', { toIndex });
    this.#compactedTerm = term;
    this.#compactionIsNews = true;
    this.#confStates = confStatesFrom(this.#confStates, toIndex);
    this.#tail.compact(toIndex);
  }

  /**
   * The log restarts behind a snapshot whose state is complete and synced in `state-<stateGeneration>`. Durable and
   * atomic. `hardState`: of the same Ready, stored in the same transaction. Throws StorageError; final.
   */
  installSnapshot(metadata: SnapshotMetadata, stateGeneration: number, hardState?: HardState): void {
    this.#checkUsable();
    const { index, term, confState } = metadata;
    assert(index >= this.firstIndex() - 1, 'snapshot is older than the log', { index, first: this.firstIndex() });
    assert(stateGeneration !== this.#stateGeneration, 'a snapshot has a directory of its own', { stateGeneration });
    this.#guard(() => {
      this.#tail.restart(index);
      this.#compactedTerm = term;
      this.#confStates = [{ index, confState }];
      this.#stateGeneration = stateGeneration;
      this.#hardState = hardStateAfterSnapshot(hardState ?? this.#hardState, metadata);
      this.#bootstrapped = true;
      this.#move(0, 0);
    });
  }

  /** The same state stands in `state-<stateGeneration>` from now on, complete and synced. Durable and atomic; final. */
  switchState(stateGeneration: number): void {
    this.#checkUsable();
    assert(stateGeneration !== this.#stateGeneration, 'the state moves to another directory', { stateGeneration });
    this.#guard(() => {
      this.#stateGeneration = stateGeneration;
      this.#move(0, 0);
    });
  }

  /**
   * Fits the log to the state store; call once after both are open, before the raft core starts. Raises the commit
   * index to what was applied and takes back configurations of entries that will be applied again. Returns the
   * configuration in force at `appliedIndex`. Throws StorageError `inconsistent` when the two do not belong together.
   */
  reconcile(appliedIndex: number, appliedTerm: number): ConfState {
    this.#checkUsable();
    const term = this.term(appliedIndex);
    if (term === undefined || (appliedTerm !== term && appliedIndex > 0)) {
      throw new StorageError(
        StorageErrorKind.Inconsistent,
        `the state (applied to index ${appliedIndex}, term ${appliedTerm}) does not belong to the log (indexes ` +
          `${this.firstIndex()} to ${this.lastIndex()}${term === undefined ? '' : `, there of term ${term}`})`,
      );
    }
    if (appliedIndex > this.#hardState.commit) this.#setHardState({ ...this.#hardState, commit: appliedIndex });
    this.#confStates = confStatesUpTo(this.#confStates, appliedIndex);
    return confStateAt(this.#confStates, appliedIndex);
  }

  // Housekeeping.

  /**
   * One bounded piece of work, if any is due; returns whether there was. `nowMs`: any monotone clock. Throws as append.
   *   - a full write-ahead file waits and the other is half full: frees it. (Half full: by then most of what waits is
   *     compacted under load and need not be moved.)
   *   - the log was quiet for a second: moves what is in memory only.
   *   - garbage has piled up in LMDB: removes some.
   *   - the current file fills up and the other is free but short: makes that one longer.
   */
  flushIfDue(nowMs: number): boolean {
    this.#checkUsable();
    if (this.#activitySequence !== this.#wal.nextSequence) {
      this.#activitySequence = this.#wal.nextSequence;
      this.#activityMs = nowMs;
    }
    const garbage = Math.min(this.firstIndex(), this.#presentEnd) - this.#presentFirst;
    if (this.#wal.waitsForMove) {
      if (this.#wal.fillRatio < MOVE_FROM_RATIO) return false;
      const takesSome = this.#tail.waiting.countUpTo(this.firstIndex() - 1) > 0;
      this.#guard(() => (takesSome ? this.#move(0, 0) : this.#movePiece()));
      return true;
    }
    const idle = nowMs - this.#activityMs >= IDLE_MS;
    if (idle && (this.#tail.waiting.length > 0 || this.#hardStateIsNews || garbage > 0)) {
      this.#guard(() => this.#movePiece());
      return true;
    }
    if (garbage >= REMOVE_ENTRIES_MAX) {
      this.#guard(() => this.#move(0, 0));
      return true;
    }
    return this.#guard(() => this.#wal.growIfDue());
  }

  /** Moves everything to LMDB and closes. After a failure it only closes. Idempotent. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    try {
      while (this.#state === 'open' && (this.#tail.waiting.length > 0 || this.#hardStateIsNews)) {
        this.#guard(() => this.#movePiece());
      }
    } finally {
      await this.abandon();
    }
  }

  /** Closes the files and writes nothing: what a crash leaves. Idempotent. */
  async abandon(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#wal.close();
    await this.#environment.close();
  }

  // Records.

  #appendRecord(entries: readonly Entry[], hardState: HardState | undefined): void {
    const index = this.firstIndex() - 1;
    const compaction = this.#compactionIsNews ? { index, term: this.#compactedTerm } : undefined;
    const write = { compaction, hardState, entries };
    const payloadBytes = logRecordBytes(write);
    if (!this.#wal.fits(payloadBytes)) {
      this.#appendToEnvironment(entries, hardState);
      return;
    }
    this.#makeRoom(payloadBytes);
    const type = writeLogRecord(this.#beginRecord(), write);
    this.#writeRecord(type, entries);
    this.#compactionIsNews = false;
  }

  /** More than a write-ahead file holds goes to LMDB at once, in one transaction. */
  #appendToEnvironment(entries: readonly Entry[], hardState: HardState | undefined): void {
    while (this.#tail.waiting.length > 0) this.#movePiece();
    this.#tail.acceptUnrecorded(entries);
    if (hardState !== undefined) this.#hardState = hardState;
    this.#bootstrapped = true;
    this.#move(entries.length, Number.MAX_SAFE_INTEGER);
  }

  #makeRoom(payloadBytes: number): void {
    while (this.#wal.mustMoveFirst(payloadBytes)) this.#movePiece();
  }

  #beginRecord(): Scratch {
    this.#scratch.shrinkTo(SCRATCH_KEEP_BYTES);
    this.#scratch.length = WAL_RECORD_HEADER_BYTES;
    return this.#scratch;
  }

  #writeRecord(type: number, entries: readonly Entry[]): void {
    this.#beforeWrite?.('wal', this.#scratch.length);
    const sequence = this.#wal.append(this.#scratch, type);
    this.#tail.accept(entries, sequence);
  }

  #replay({ sequence, hardState, entries, confState }: LogRecord): void {
    if (hardState !== undefined) {
      this.#hardState = { ...hardState, commit: Math.max(hardState.commit, this.#hardState.commit) };
    }
    this.#tail.accept(entries, sequence);
    if (confState !== undefined) this.#confStates = withConfState(this.#confStates, confState);
    this.#bootstrapped = true;
  }

  // Moving.

  #movePiece(): void {
    this.#move(this.#moveEntriesMax, MOVE_BYTES_MAX);
  }

  /** One synced transaction: entries to LMDB, a replaced suffix and garbage away, everything else up to date. */
  #move(entriesMax: number, bytesMax: number): void {
    const environment = this.#environment;
    const { entries, lastIndex } = this.#tail.nextPiece(entriesMax, bytesMax);
    const garbage = environment.presentIndexes(this.#presentFirst, this.firstIndex(), REMOVE_ENTRIES_MAX);
    const replaced = environment.presentIndexes(
      Math.max(this.#tail.movedIndex + 1, this.firstIndex()),
      this.#presentEnd,
      Number.MAX_SAFE_INTEGER,
    );
    const taken = this.#tail.waiting.countUpTo(lastIndex);
    const takenSequence = this.#tail.waiting.sequenceAt(taken) ?? this.#wal.nextSequence;
    environment.commit(this.#metaWith(takenSequence, lastIndex), { remove: garbage.concat(replaced), append: entries });

    this.#tail.setMoved(lastIndex, taken);
    this.#wal.setTaken(takenSequence);
    this.#presentEnd = entries.length > 0 ? lastIndex + 1 : Math.min(this.#presentEnd, lastIndex + 1);
    const allGarbageGone = garbage.length < REMOVE_ENTRIES_MAX;
    this.#presentFirst = allGarbageGone ? this.firstIndex() : garbage[garbage.length - 1]! + 1;
    this.#hardStateIsNews = false;
    this.#compactionIsNews = false;
  }

  #metaWith(takenSequence: number, lastIndex: number): LogMeta {
    return {
      stamp: this.stamp,
      takenSequence,
      compactedIndex: this.firstIndex() - 1,
      compactedTerm: this.#compactedTerm,
      lastIndex,
      stateGeneration: this.#stateGeneration,
      bootstrapped: this.#bootstrapped,
      hardState: this.#hardState,
      confStates: this.#confStates,
    };
  }

  // Checks.

  #setHardState(hardState: HardState): void {
    this.#hardState = hardState;
    this.#hardStateIsNews = true;
  }

  #checkEntries(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const first = entries[0]!.index;
    assert(first <= this.lastIndex() + 1, 'append leaves a hole in the log', { first, last: this.lastIndex() });
    const { commit } = this.#hardState;
    assert(first > commit, 'append replaces a committed entry', { first, commit });
    for (let i = 1; i < entries.length; i += 1) {
      assert(entries[i]!.index === first + i, 'appended entries are not contiguous', { first, at: i });
    }
  }

  #checkUsable(): void {
    if (this.#state === 'open') return;
    throw new StorageError(
      StorageErrorKind.Unusable,
      this.#state === 'closed' ? 'the log is closed' : 'a write to the log failed earlier; it is not used again',
    );
  }

  /** Runs a write; whatever goes wrong in it is final. */
  #guard<T>(write: () => T): T {
    try {
      return write();
    } catch (error) {
      this.#state = 'failed';
      throw asStorageError(error, 'write to the log failed');
    }
  }
}
