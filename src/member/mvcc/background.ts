/**
 * The long jobs over all records: compactions and hashes, in slices between the turns' other work.
 *
 *   step(recordsMax)   hashes first, in the order asked; then compactions, in the order scheduled
 *
 * A compaction does not move while a hash is under way: the hash must see the records of one moment.
 */
import { EtcdErrorCode } from '../../wire/errors.js';
import { CompactionJob } from './compaction.js';
import { HashCache, HashJob, type KvHash } from './hash.js';
import type { Mvcc } from './mvcc.js';

interface Scheduled {
  readonly job: CompactionJob;
  /** Whether the compaction before it had finished when it was asked for: else its hash does not cover everything. */
  readonly hashCounts: boolean;
}

/** A hash under way. */
export interface SlicedHash<Result> {
  /** Looks at up to `recordsMax` records; the result when that was the last slice. */
  step(recordsMax: number): Result | undefined;
}

/** One slice of a hash; true when it was the last and the result is delivered. */
type Asked = (recordsMax: number) => boolean;

export class Background {
  readonly #mvcc: Mvcc;
  readonly #compactions: Scheduled[] = [];
  readonly #hashes: Asked[] = [];
  readonly #cache = new HashCache();

  /** Takes up a compaction that a former run of the member did not finish. */
  constructor(mvcc: Mvcc) {
    this.#mvcc = mvcc;
    const { compactRevision, finishedCompactRevision } = mvcc;
    if (compactRevision > finishedCompactRevision) {
      const job = new CompactionJob(mvcc, compactRevision, finishedCompactRevision);
      this.#compactions.push({ job, hashCounts: false });
    }
  }

  /** Whether step() has something to do. */
  get busy(): boolean {
    return this.#hashes.length > 0 || this.#compactions.length > 0;
  }

  /** The logical step of a compaction, or why there is none; the records follow in steps. */
  compact(revision: number): EtcdErrorCode | undefined {
    const mvcc = this.#mvcc;
    const previous = mvcc.compactRevision;
    if (revision <= previous) return EtcdErrorCode.Compacted;
    if (revision > mvcc.currentRevision) return EtcdErrorCode.FutureRev;
    const hashCounts = mvcc.finishedCompactRevision === previous;
    mvcc.scheduleCompaction(revision);
    this.#compactions.push({ job: new CompactionJob(mvcc, revision, previous), hashCounts });
    return undefined;
  }

  /**
   * Hashes the store at `revision` (0: newest) and calls `done`, at once when it is known from a compaction, else from
   * a later step. Returns why it cannot be hashed, if so. `fresh`: not what is known from a compaction, which goes by
   * the compact revision before it.
   */
  hashKv(revision: number, done: (hash: KvHash) => void, fresh = false): EtcdErrorCode | undefined {
    const mvcc = this.#mvcc;
    const cached = revision === 0 || fresh ? undefined : this.#cache.get(revision);
    if (cached !== undefined) {
      done(cached);
      return undefined;
    }
    if (revision > 0 && revision < mvcc.compactRevision) return EtcdErrorCode.Compacted;
    if (revision > mvcc.currentRevision) return EtcdErrorCode.FutureRev;
    this.hash(new HashJob(mvcc, revision === 0 ? mvcc.currentRevision : revision), done);
    return undefined;
  }

  /** What the last compactions hashed, oldest first. */
  compactionHashes(): readonly KvHash[] {
    return this.#cache.hashes;
  }

  /** Runs a hash among the others; `done` is called from a later step. */
  hash<Result>(job: SlicedHash<Result>, done: (result: Result) => void): void {
    this.#hashes.push(recordsMax => {
      const result = job.step(recordsMax);
      if (result === undefined) return false;
      done(result);
      return true;
    });
  }

  /** One slice of one job, `recordsMax` records at most. Returns whether there is more to do. */
  step(recordsMax: number): boolean {
    const asked = this.#hashes[0];
    if (asked !== undefined) {
      if (asked(recordsMax)) this.#hashes.shift();
      return this.busy;
    }
    const scheduled = this.#compactions[0];
    if (scheduled === undefined) return false;
    const hash = scheduled.job.step(recordsMax);
    if (hash !== undefined) {
      this.#compactions.shift();
      if (scheduled.hashCounts) this.#cache.add(hash);
    }
    return this.busy;
  }
}
