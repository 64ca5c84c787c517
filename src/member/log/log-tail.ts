/**
 * Where every entry of the log is: in memory, in LMDB, or in both; and which write-ahead records still stand for what.
 *
 *      garbage      compacted      moved             end
 *   ┆............┆│═════════════│┆═══════════════│┆─────────────│
 *    in LMDB,      forgotten      in LMDB           in memory only: write-ahead records wait for LMDB
 *    to remove                    (and cached)      to take these
 *
 * Invariants: the cache reaches to the end and holds at least what is behind `movedIndex`; nothing at or below the
 * compacted index is ever accepted.
 */
import { type Entry, entryBytes } from '../raft/types.js';
import { EntryCache } from './entry-cache.js';
import { WaitingRecords } from './waiting-records.js';

/** A piece of the log to be put into LMDB. */
export interface LogPiece {
  readonly entries: readonly Entry[];
  /** Index up to which LMDB holds the log afterwards. */
  readonly lastIndex: number;
}

export class LogTail {
  readonly #cache: EntryCache;
  readonly #cacheBytesMax: number;
  readonly waiting = new WaitingRecords();
  #compactedIndex: number;
  #movedIndex: number;

  /** LMDB holds the log up to `movedIndex`; everything up to `compactedIndex` is forgotten. */
  constructor(compactedIndex: number, movedIndex: number, cacheBytesMax: number) {
    this.#compactedIndex = compactedIndex;
    this.#movedIndex = movedIndex;
    this.#cacheBytesMax = cacheBytesMax;
    this.#cache = new EntryCache(Math.max(movedIndex, compactedIndex) + 1);
  }

  get firstIndex(): number {
    return this.#compactedIndex + 1;
  }

  get lastIndex(): number {
    return this.#cache.end - 1;
  }

  /** Entries up to here are in LMDB as they are in the log, unless they are forgotten. */
  get movedIndex(): number {
    return this.#movedIndex;
  }

  /** The entry if it is in memory. */
  cached(index: number): Entry | undefined {
    return index >= this.#cache.first && index < this.#cache.end ? this.#cache.at(index) : undefined;
  }

  /** Takes the entries of a durable record; what they replace is gone, what is compacted is skipped. */
  accept(entries: readonly Entry[], sequence: number): void {
    this.acceptUnrecorded(entries);
    this.waiting.push(sequence, entries);
  }

  /** Takes entries that no record carries: the caller moves them in the same breath. */
  acceptUnrecorded(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const from = Math.max(entries[0]!.index, this.firstIndex);
    if (from < this.#cache.end) this.#truncate(from);
    for (const entry of entries) {
      if (entry.index >= from) this.#cache.push(entry);
    }
    this.#cache.shrink(this.#cacheBytesMax, this.#movedIndex + 1);
  }

  compact(toIndex: number): void {
    this.#compactedIndex = toIndex;
    this.#cache.dropBefore(toIndex + 1);
  }

  /** The log is empty and goes on behind `index`. */
  restart(index: number): void {
    this.#compactedIndex = index;
    this.#movedIndex = index;
    this.#cache.reset(index + 1);
    this.waiting.clear();
  }

  /** The next entries to move, but not more than these many, or these bytes (one entry may be larger). */
  nextPiece(entriesMax: number, bytesMax: number): LogPiece {
    const start = Math.max(this.#movedIndex, this.#compactedIndex) + 1;
    const entries: Entry[] = [];
    let bytes = 0;
    for (let index = start; index < this.#cache.end && entries.length < entriesMax; index += 1) {
      const entry = this.#cache.at(index);
      bytes += entryBytes(entry);
      if (bytes > bytesMax && entries.length > 0) break;
      entries.push(entry);
    }
    return { entries, lastIndex: start - 1 + entries.length };
  }

  /** LMDB holds the log up to this index and has taken these many of the waiting records. */
  setMoved(lastIndex: number, records: number): void {
    this.#movedIndex = lastIndex;
    this.waiting.drop(records);
    this.#cache.shrink(this.#cacheBytesMax, lastIndex + 1);
  }

  #truncate(from: number): void {
    this.#cache.truncate(from);
    this.#movedIndex = Math.min(this.#movedIndex, from - 1);
    this.waiting.truncate(from);
  }
}
