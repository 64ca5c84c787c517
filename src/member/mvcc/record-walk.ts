/**
 * A walk over all records up to a revision, a slice at a time between other work: what compactions and hashes have in
 * common.
 *
 *     step(recordsMax, visit) ... step(recordsMax, visit) ─> true: that was the last slice
 */
import type { MvccStorage, RecordVisitor, Revision } from './storage.js';

/** A slice ends after this many bytes of values, whatever the number of records: about two milliseconds. */
const SLICE_BYTES_MAX = 1 << 20;

/** `value` is valid during the call only; the store must not be changed meanwhile. */
export type WalkVisitor = (...record: Parameters<RecordVisitor>) => void;

export class RecordWalk {
  readonly #storage: Pick<MvccStorage, 'scanRecords'>;
  readonly #lastMain: number;
  #next: Revision = { main: 0, sub: 0 };

  /** From the first record to the last of revision `lastMain`. */
  constructor(storage: Pick<MvccStorage, 'scanRecords'>, lastMain: number) {
    this.#storage = storage;
    this.#lastMain = lastMain;
  }

  /** Visits up to `recordsMax` records; true when that was the last slice. */
  step(recordsMax: number, visit: WalkVisitor): boolean {
    let records = 0;
    let bytes = 0;
    let paused = false;
    this.#storage.scanRecords(this.#next, (main, sub, tombstone, value, checksum, seed) => {
      if (main > this.#lastMain) return false;
      if (records === recordsMax || bytes >= SLICE_BYTES_MAX) {
        this.#next = { main, sub };
        paused = true;
        return false;
      }
      records += 1;
      bytes += value.length;
      visit(main, sub, tombstone, value, checksum, seed);
      return true;
    });
    return !paused;
  }
}
