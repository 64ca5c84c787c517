/**
 * Write-ahead records that LMDB has not taken yet, oldest first, each with the last log index it still stands for (0:
 * it carries no entries). When LMDB holds the log up to an index, all records up to it are taken.
 */
import type { Entry } from '../raft/types.js';

interface WaitingRecord {
  readonly sequence: number;
  lastIndex: number;
}

export class WaitingRecords {
  readonly #records: WaitingRecord[] = [];

  get length(): number {
    return this.#records.length;
  }

  push(sequence: number, entries: readonly Entry[]): void {
    const last = entries[entries.length - 1];
    this.#records.push({ sequence, lastIndex: last === undefined ? 0 : last.index });
  }

  /** Entries from `from` on were replaced: no record stands for them any more. */
  truncate(from: number): void {
    for (const record of this.#records) record.lastIndex = Math.min(record.lastIndex, from - 1);
  }

  /** How many records are taken once LMDB holds the log up to `index`. */
  countUpTo(index: number): number {
    let count = 0;
    while (count < this.#records.length && this.#records[count]!.lastIndex <= index) count += 1;
    return count;
  }

  /** Sequence of the record at this position; undefined behind the last. */
  sequenceAt(at: number): number | undefined {
    return this.#records[at]?.sequence;
  }

  drop(count: number): void {
    this.#records.splice(0, count);
  }

  clear(): void {
    this.#records.length = 0;
  }
}
