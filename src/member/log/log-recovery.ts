/** What a log makes of what it finds: the later of two compactions, the hard state behind a snapshot, a gap. */
import type { HardState, SnapshotMetadata } from '../raft/types.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import type { LogMeta } from './log-environment.js';
import type { Compaction, LogRecord } from './wal-record.js';

/** LMDB may know a later one than the records that wait for it, and the other way round. */
export function latestCompaction(meta: LogMeta, records: readonly LogRecord[]): Compaction {
  let latest: Compaction = { index: meta.compactedIndex, term: meta.compactedTerm };
  for (const { compaction } of records) {
    if (compaction !== undefined && compaction.index > latest.index) latest = compaction;
  }
  return latest;
}

/** What is promised once a snapshot is installed. */
export function hardStateAfterSnapshot(state: HardState, { index, term }: SnapshotMetadata): HardState {
  const vote = term > state.term ? 0n : state.vote;
  return { term: Math.max(term, state.term), vote, commit: Math.max(state.commit, index) };
}

/** The error of a log whose end is gone. */
export function lostEntries(commit: number, last: number): StorageError {
  const text = `the log ends at index ${last}, but index ${commit} was committed: a part of it is gone`;
  return new StorageError(StorageErrorKind.Inconsistent, text);
}
