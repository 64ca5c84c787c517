/**
 * The physical part of a compaction at R: removes the records that nobody can read any more, a slice at a time.
 *
 *   scheduledCompactRev written, reads below R fail ─> slices ─> finishedCompactRev written
 *   |__ logical step, with the log entry __|           |__ between other work, resumed after a restart __|
 *
 * A slice walks the records in revision order. Of each key the newest record at or below R stays, unless it is a
 * tombstone older than R; everything before it goes:
 *
 *   R = 9    k: 5.0 put, 7.0 put     -> 5.0 goes, 7.0 stays
 *            l: 3.0 put, 6.0 delete  -> both go, and with them the key
 *            m: 4.0 put, 9.0 delete  -> 4.0 goes; 9.0 stays for a watch that starts at 9
 *
 * The index forgets a key's revisions when the walk reaches the newest one at R; until then it still lists what the
 * walk has removed below it, which no read can ask for.
 *
 * The walk also takes the HashKV of R as it was before, with the former compact revision P: what etcd calls the hash of
 * the compaction.
 */
import { assert } from '../../base/assert.js';
import { type KvHash, RecordHasher } from './hash.js';
import type { Mvcc } from './mvcc.js';
import { recordKey } from './record.js';
import { RecordWalk } from './record-walk.js';

interface Doomed {
  readonly main: number;
  readonly sub: number;
  readonly tombstone: boolean;
}

export class CompactionJob {
  readonly revision: number;
  readonly #mvcc: Mvcc;
  readonly #previous: number;
  readonly #hasher = new RecordHasher();
  /** Whether compaction keeps any record; decided when the walk begins. */
  #keepsAny: boolean | undefined;
  readonly #walk: RecordWalk;

  /** `previous`: the compact revision before. */
  constructor(mvcc: Mvcc, revision: number, previous: number) {
    this.#mvcc = mvcc;
    this.revision = revision;
    this.#previous = previous;
    this.#walk = new RecordWalk(mvcc.storage, revision);
  }

  /** Looks at up to `recordsMax` records. The hash when that was the last slice: the compaction is finished then. */
  step(recordsMax: number): KvHash | undefined {
    this.#keepsAny ??= this.#keepsAnything();
    const doomed: Doomed[] = [];
    const isLast = this.#walk.step(recordsMax, (main, sub, tombstone, value, checksum, seed) => {
      const kept = this.#visit(main, sub, tombstone, value);
      if (!kept) doomed.push({ main, sub, tombstone });
      if (!this.#counts(main, tombstone, kept)) return;
      this.#hasher.add(main, sub, tombstone, value.length, checksum, seed);
    });
    for (const { main, sub, tombstone } of doomed) this.#mvcc.storage.deleteRecord(main, sub, tombstone);
    this.#mvcc.countCompacted(doomed.length);
    if (!isLast) return undefined;
    this.#mvcc.finishCompaction(this.revision);
    return { hash: this.#hasher.value, compactRevision: this.#previous, revision: this.revision };
  }

  /** Whether the record stays. Brings the index in line when it is the newest of its key at R. */
  #visit(main: number, sub: number, tombstone: boolean, value: Uint8Array): boolean {
    const { index } = this.#mvcc;
    const slot = index.find(recordKey(value));
    assert(slot !== -1, 'every stored record is in the index', { main, sub });
    const position = index.newestAt(slot, this.revision, main, sub);
    if (position === -1) return false;
    const kept = !tombstone || main === this.revision;
    index.dropOldest(slot, kept ? position : position + 1);
    return kept;
  }

  /** Whether the record counts for the hash: see hash.ts, with R for R and P for C. */
  #counts(main: number, tombstone: boolean, kept: boolean): boolean {
    if (main > this.#previous) return true;
    if (main === this.#previous && tombstone) return false;
    return kept || this.#keepsAny === false;
  }

  #keepsAnything(): boolean {
    if (this.#mvcc.index.anyLive(this.revision)) return true;
    let tombstoneAtRevision = false;
    this.#mvcc.storage.scanRecords({ main: this.revision, sub: 0 }, (main, _sub, tombstone) => {
      tombstoneAtRevision = main === this.revision && tombstone;
      return main === this.revision && !tombstone;
    });
    return tombstoneAtRevision;
  }
}
