/**
 * The log as the core sees it: the storage, and in front of it a tail in memory that is not persisted yet.
 *
 *     storage: firstIndex ........ persisted end
 *     unstable:                 offset ........ lastIndex        entries[i] has index offset + i
 *                  applied <= committed <= lastIndex
 *
 * The unstable part wins from `offset` on: after a conflict it overlays entries that the storage still holds and will
 * truncate at the next append. A received snapshot stands before everything: until advance() says that it is installed,
 * the log consists of it and the unstable tail only, and nothing is applied.
 */
import { assert } from '../../base/assert.js';
import { type Entry, entryBytes, type LogStorage, type SnapshotMetadata } from './types.js';

export class LogView {
  readonly storage: LogStorage;
  committed: number;
  applied: number;
  #entries: Entry[] = [];
  #offset: number;
  #snapshot: SnapshotMetadata | undefined = undefined;

  constructor(storage: LogStorage, committed: number, applied: number) {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    assert(first >= 1 && last >= first - 1, 'the log has a first and a last index', { first, last });
    assert(applied >= first - 1, 'I8: what is applied reaches the compacted part of the log', { applied, first });
    assert(applied <= committed && committed <= last, 'I8: applied <= committed <= last: was the log lost?', {
      applied,
      committed,
      last,
    });
    this.storage = storage;
    this.committed = committed;
    this.applied = applied;
    this.#offset = last + 1;
  }

  firstIndex(): number {
    return this.#snapshot === undefined ? this.storage.firstIndex() : this.#snapshot.index + 1;
  }

  lastIndex(): number {
    return this.#offset + this.#entries.length - 1;
  }

  /** The last index that is persisted as this log has it. */
  stableIndex(): number {
    return this.#offset - 1;
  }

  lastTerm(): number {
    const term = this.term(this.lastIndex());
    assert(term !== undefined, 'the last entry has a term', { lastIndex: this.lastIndex() });
    return term;
  }

  /** The term of an entry or of the snapshot right before the first one; undefined when compacted or beyond the end. */
  term(index: number): number | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    if (this.#snapshot !== undefined) return index === this.#snapshot.index ? this.#snapshot.term : undefined;
    return this.storage.term(index);
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /** Raft §5.4.1: whether a log ending in (index, term) has everything that may be committed here. */
  isUpToDate(index: number, term: number): boolean {
    const lastTerm = this.lastTerm();
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex());
  }

  /** Entries [lo, hi), at least one and at most `bytesMax` by entryBytes(). Asserts that lo is not compacted. */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] {
    assert(lo >= this.firstIndex() && lo < hi && hi <= this.lastIndex() + 1, 'a range inside the log', {
      lo,
      hi,
      first: this.firstIndex(),
      last: this.lastIndex(),
    });
    if (lo >= this.#offset) return this.#unstableEntries(lo, hi, bytesMax);
    const stableEnd = Math.min(hi, this.#offset);
    const stable = this.storage.entries(lo, stableEnd, bytesMax);
    if (hi <= this.#offset || stable.length < stableEnd - lo) return stable;
    let bytesLeft = bytesMax;
    for (const entry of stable) bytesLeft -= entryBytes(entry);
    const next = this.#entries[0]!;
    if (entryBytes(next) > bytesLeft) return stable;
    return stable.concat(this.#unstableEntries(this.#offset, hi, bytesLeft));
  }

  /** Adds entries that follow the last one: what a leader does, and all it ever does (I2). */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    assert(entries[0]!.index === this.lastIndex() + 1, 'I2: a leader only appends', {
      first: entries[0]!.index,
      last: this.lastIndex(),
    });
    for (let i = 0; i < entries.length; i++) this.#entries.push(entries[i]!);
  }

  /**
   * Follower: takes `entries` that follow (prevIndex, prevTerm), dropping our tail from the first conflict on. Returns
   * the last index known to match, or undefined when (prevIndex, prevTerm) is not in this log (I3).
   */
  maybeAppend(prevIndex: number, prevTerm: number, entries: readonly Entry[]): number | undefined {
    if (!this.matches(prevIndex, prevTerm)) return undefined;
    const conflict = this.#findConflict(entries);
    if (conflict !== -1) {
      const from = entries[conflict]!.index;
      assert(from > this.committed, 'I4: a committed entry is never overwritten', { from, committed: this.committed });
      this.#truncateAndAppend(entries, conflict);
    }
    return prevIndex + entries.length;
  }

  /**
   * The largest index <= `index` whose term is at most `term`, for skipping over a conflict a term at a time. Its term
   * is undefined where the log is compacted: then the search ends, and whoever asks learns it by probing.
   */
  findConflictByTerm(index: number, term: number): { index: number; term: number | undefined } {
    for (let at = index; at > 0; at--) {
      const atTerm = this.term(at);
      if (atTerm === undefined || atTerm <= term) return { index: at, term: atTerm };
    }
    return { index: 0, term: 0 };
  }

  /** Moves the commit index forward; false when it already is there. */
  commitTo(index: number): boolean {
    if (index <= this.committed) return false;
    assert(index <= this.lastIndex(), 'I8: commit <= last: was the log corrupted, truncated or lost?', {
      index,
      last: this.lastIndex(),
    });
    this.committed = index;
    return true;
  }

  /** A snapshot takes the place of the whole log. */
  restore(snapshot: SnapshotMetadata): void {
    assert(snapshot.index > this.committed, 'a snapshot only moves forward', {
      index: snapshot.index,
      committed: this.committed,
    });
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#offset = snapshot.index + 1;
    this.committed = snapshot.index;
  }

  pendingSnapshot(): SnapshotMetadata | undefined {
    return this.#snapshot;
  }

  hasUnstable(): boolean {
    return this.#entries.length > 0;
  }

  /** A copy: the caller keeps it while more is appended here. */
  unstable(): readonly Entry[] {
    return this.#entries.length === 0 ? NO_ENTRIES : this.#entries.slice();
  }

  /** Everything up to (index, term) is on disk. A position that was overwritten since says nothing. */
  stableTo(index: number, term: number): void {
    if (index < this.#offset || this.term(index) !== term) return;
    const count = index + 1 - this.#offset;
    if (count === this.#entries.length) this.#entries = [];
    else this.#entries.splice(0, count);
    this.#offset = index + 1;
  }

  /** The snapshot is installed: storage and state start at it. */
  snapshotInstalled(index: number): void {
    if (this.#snapshot === undefined || this.#snapshot.index !== index) return;
    assert(this.storage.firstIndex() === index + 1, 'the storage starts behind the installed snapshot', {
      first: this.storage.firstIndex(),
      index,
    });
    this.#snapshot = undefined;
    this.applied = index;
  }

  hasCommittedToApply(): boolean {
    return this.committed > this.applied && this.#snapshot === undefined;
  }

  /** The next entries to apply, at most `bytesMax`; none while a snapshot waits for its installation. */
  committedToApply(bytesMax: number): readonly Entry[] {
    if (!this.hasCommittedToApply()) return NO_ENTRIES;
    return this.entries(this.applied + 1, this.committed + 1, bytesMax);
  }

  appliedTo(index: number): void {
    assert(index >= this.applied && index <= this.committed, 'I8: applied moves forward, within committed', {
      index,
      applied: this.applied,
      committed: this.committed,
    });
    this.applied = index;
  }

  #unstableEntries(lo: number, hi: number, bytesMax: number): readonly Entry[] {
    const start = lo - this.#offset;
    const stop = hi - this.#offset;
    let bytes = 0;
    let end = start;
    while (end < stop) {
      bytes += entryBytes(this.#entries[end]!);
      if (bytes > bytesMax && end > start) break;
      end++;
    }
    return this.#entries.slice(start, end);
  }

  /** Position in `entries` of the first one that this log does not have as it is; -1 when it has them all. */
  #findConflict(entries: readonly Entry[]): number {
    const last = this.lastIndex();
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry.index > last || this.term(entry.index) !== entry.term) return i;
    }
    return -1;
  }

  #truncateAndAppend(entries: readonly Entry[], start: number): void {
    const from = entries[start]!.index;
    const kept = from - this.#offset;
    if (kept <= 0) {
      this.#entries = [];
      this.#offset = from;
    } else if (kept < this.#entries.length) {
      this.#entries.length = kept;
    }
    for (let i = start; i < entries.length; i++) this.#entries.push(entries[i]!);
  }
}

export const NO_ENTRIES: readonly Entry[] = [];
