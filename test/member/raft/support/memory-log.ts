/**
 * A log storage in memory that says what a crash would leave: appends are durable when asked to be, and a hard state
 * written without a sync may or may not survive.
 */
import { assert } from '../../../../src/base/assert.js';
import { EMPTY_CONF_STATE } from '../../../../src/member/raft/conf-change.js';
import {
  type ConfState,
  type Entry,
  entryBytes,
  type HardState,
  type LogStorage,
  NO_MEMBER,
  type SnapshotMetadata,
} from '../../../../src/member/raft/types.js';

export class MemoryLog implements LogStorage {
  #snapshot: SnapshotMetadata = { index: 0, term: 0, confState: EMPTY_CONF_STATE };
  #entries: Entry[] = [];
  #hardState: HardState = { term: 0, vote: NO_MEMBER, commit: 0 };
  #syncedHardState: HardState = this.#hardState;
  #confState: ConfState = EMPTY_CONF_STATE;

  /** A new member of a new cluster: `entries` in the log, committed, and the configuration they make. */
  bootstrap(entries: readonly Entry[], hardState: HardState, confState: ConfState): void {
    this.#entries = [...entries];
    this.#hardState = hardState;
    this.#syncedHardState = hardState;
    this.#confState = confState;
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#confState };
  }

  firstIndex(): number {
    return this.#snapshot.index + 1;
  }

  lastIndex(): number {
    return this.#snapshot.index + this.#entries.length;
  }

  term(index: number): number | undefined {
    if (index === this.#snapshot.index) return this.#snapshot.term;
    return this.#entries[index - this.firstIndex()]?.term;
  }

  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] {
    assert(this.firstIndex() <= lo && lo < hi && hi <= this.lastIndex() + 1, 'a range inside the log', { lo, hi });
    const range = this.#entries.slice(lo - this.firstIndex(), hi - this.firstIndex());
    let bytes = 0;
    for (let i = 0; i < range.length; i++) {
      bytes += entryBytes(range[i]!);
      if (bytes > bytesMax && i > 0) return range.slice(0, i);
    }
    return range;
  }

  snapshotMetadata(): SnapshotMetadata {
    return this.#snapshot;
  }

  append(entries: readonly Entry[], hardState: HardState | undefined, mustSync: boolean): void {
    const first = entries[0];
    if (first !== undefined) {
      const kept = first.index - this.firstIndex();
      assert(kept >= 0 && kept <= this.#entries.length, 'an append joins the log', { first: first.index });
      this.#entries.length = kept;
      this.#entries.push(...entries);
    }
    if (hardState !== undefined) this.#hardState = hardState;
    if (mustSync) this.#syncedHardState = this.#hardState;
  }

  setConfState(confState: ConfState): void {
    this.#confState = confState;
  }

  /** Drops entries up to `index`, which the state covers; `confState` is the configuration there. */
  compact(index: number, confState: ConfState): void {
    const term = this.term(index);
    assert(term !== undefined && index >= this.#snapshot.index, 'compacts what it has', { index });
    this.#entries = this.#entries.slice(index - this.#snapshot.index);
    this.#snapshot = { index, term, confState };
  }

  installSnapshot(snapshot: SnapshotMetadata): void {
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#confState = snapshot.confState;
  }

  /** A crash: whatever was written without a sync is lost. */
  loseUnsynced(): void {
    this.#hardState = this.#syncedHardState;
  }

  /** All entries, for checkers. */
  allEntries(): readonly Entry[] {
    return this.#entries;
  }
}
