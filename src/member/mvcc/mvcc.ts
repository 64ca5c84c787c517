/**
 * The multi-version key space: records by revision on disk, an index from keys to revisions in memory.
 *
 *   revision   one number for the store; every effective write raises it by one
 *   (main, sub)  main is the write's revision, sub counts the changes inside it: 0, 1, 2, ...
 *
 *   begin() ─> put, deleteRange, reads that see them ─> end()      changes are numbered (currentRevision + 1, 0...)
 *
 * Reads are possible from the compact revision to the current one. All calls are synchronous; the store's own buffer
 * makes changes visible at once and durable together with the applied index.
 *
 * Invariants: V1 the current revision never decreases, across restarts too (see storage.ts); V2 an effective write
 * raises it by exactly one and its subs are dense; V4 compact revision <= current revision, never decreasing; what the
 * index lists above the finished compaction is in the store, and nothing else.
 */
import { assert } from '../../base/assert.js';
import { MetricCells, Scalar } from '../../transport/metric-cells.js';
import { decodeKeyValue, encodeKeyValue } from '../../wire/kv.js';
import { KeyIndex, type RangeEnd } from './key-index.js';
import { copyRecord, recordKey, tombstoneRecord } from './record.js';
import {
  FINISHED_COMPACT_KEY,
  type MvccStorage,
  readMetaRevision,
  SCHEDULED_COMPACT_KEY,
  writeMetaRevision,
} from './storage.js';

/** Follows the changes of the key space as they are made; those read at start are not told. */
export interface ChangeListener {
  /**
   * One change of the write under way, in order. `record` is the stored record, for a tombstone one with nothing but
   * the key; it is never written again and may be kept.
   */
  changed(main: number, sub: number, tombstone: boolean, slot: number, record: Uint8Array): void;
}

/** Follows which lease every key that exists names in its newest record, from the start on. */
export interface LeaseAttachments {
  /** A put of the key (`lease` as in its record, 0n for none) or its deletion (0n). */
  attach(slot: number, lease: bigint): void;
}

const FIRST_REVISION = 1;
/** The compact revision of a store that was never compacted. */
const NEVER_COMPACTED = -1;
const NOBODY: LeaseAttachments = { attach() {} };

export class Mvcc {
  readonly storage: MvccStorage;
  readonly index = new KeyIndex();
  readonly #attachments: LeaseAttachments;
  readonly #cells: MetricCells;
  listener: ChangeListener | undefined;
  #currentRevision = FIRST_REVISION;
  #compactRevision = NEVER_COMPACTED;
  #finishedCompactRevision = NEVER_COMPACTED;
  #writing = false;
  /** Changes of the write that is under way. */
  #changes = 0;
  /** Puts, deletions and reads in it. */
  #operations = 0;

  /** Reads what the store holds: all records once, in revision order. */
  constructor(storage: MvccStorage, attachments: LeaseAttachments = NOBODY, cells = new MetricCells()) {
    this.storage = storage;
    this.#cells = cells;
    this.#attachments = attachments;
    this.#finishedCompactRevision = readMetaRevision(storage, FINISHED_COMPACT_KEY) ?? NEVER_COMPACTED;
    const scheduled = readMetaRevision(storage, SCHEDULED_COMPACT_KEY) ?? NEVER_COMPACTED;
    this.#compactRevision = Math.max(this.#finishedCompactRevision, scheduled);
    const newest = this.#restoreIndex();
    this.#currentRevision = Math.max(FIRST_REVISION, newest, this.#compactRevision);
  }

  get currentRevision(): number {
    return this.#currentRevision;
  }

  /** Reads below it fail; NEVER_COMPACTED (-1) at first. */
  get compactRevision(): number {
    return this.#compactRevision;
  }

  /** The last compaction whose records are all gone; behind compactRevision while one is under way. */
  get finishedCompactRevision(): number {
    return this.#finishedCompactRevision;
  }

  /** What a read sees by default: inside a write, its own changes too. */
  get readRevision(): number {
    return this.#changes > 0 ? this.#currentRevision + 1 : this.#currentRevision;
  }

  /** Number of changes so far in the write under way. */
  get changes(): number {
    return this.#changes;
  }

  begin(): void {
    assert(!this.#writing, 'writes do not overlap');
    this.#writing = true;
    this.#changes = 0;
    this.#operations = 0;
  }

  /** Ends the write and returns the current revision: raised by one if anything changed. */
  end(): number {
    assert(this.#writing, 'a write ends once');
    this.#writing = false;
    if (this.#operations > 1) this.#cells.add(Scalar.txns);
    if (this.#changes > 0) this.#currentRevision += 1;
    this.#changes = 0;
    return this.#currentRevision;
  }

  /** Puts a key; returns the revision of the write. Byte arrays are copied. */
  put(key: Uint8Array, value: Uint8Array, lease: bigint): number {
    assert(this.#writing, 'puts happen inside a write');
    const main = this.#currentRevision + 1;
    const sub = this.#changes;
    this.#changes = sub + 1;
    this.#operations += 1;
    this.#cells.add(Scalar.puts);
    this.#cells.add(Scalar.putBytes, key.length + value.length);
    const slot = this.index.put(key, main, sub);
    const createRevision = this.index.table.createdMain(slot);
    const version = this.index.table.version(slot);
    const record = encodeKeyValue({ key, createRevision, modRevision: main, version, value, lease });
    this.storage.putRecord(main, sub, false, record);
    this.#attachments.attach(slot, lease);
    this.listener?.changed(main, sub, false, slot, record);
    return main;
  }

  /** Deletes the keys of the range that exist; returns how many. Their records are added to `previous`, if given. */
  deleteRange(from: Uint8Array, to: RangeEnd, previous?: Uint8Array[]): number {
    assert(this.#writing, 'deletions happen inside a write');
    this.#operations += 1;
    this.#cells.add(Scalar.deletes);
    const { slots, mains, subs } = this.index.select(from, to, this.readRevision, 0);
    const main = this.#currentRevision + 1;
    for (let at = 0; at < slots.length; at += 1) {
      const slot = slots[at]!;
      previous?.push(copyRecord(this.record(mains[at]!, subs[at]!)));
      const sub = this.#changes;
      this.#changes = sub + 1;
      this.index.tombstone(slot, main, sub);
      const record = tombstoneRecord(this.index.table.key(slot));
      this.storage.putRecord(main, sub, true, record);
      this.#attachments.attach(slot, 0n);
      this.listener?.changed(main, sub, true, slot, record);
    }
    return slots.length;
  }

  /** A range is read, for an answer of its own or in a transaction. */
  countRange(): void {
    this.#operations += 1;
    this.#cells.add(Scalar.ranges);
  }

  /** A compaction removed so many records. */
  countCompacted(records: number): void {
    this.#cells.add(Scalar.compactedRecords, records);
  }

  /**
   * The record of a put that the index names. A view, valid until the store is used again. That it is missing would
   * mean that index and store disagree.
   */
  record(main: number, sub: number): Uint8Array {
    const record = this.storage.getRecord(main, sub);
    assert(record !== undefined, 'an indexed revision has a record', { main, sub });
    return record;
  }

  /** The record of a key as a read sees it now, or undefined when the key does not exist. A view, as `record`. */
  get(key: Uint8Array): Uint8Array | undefined {
    const slot = this.index.find(key);
    if (slot === -1 || !this.index.table.live(slot)) return undefined;
    return this.record(this.index.table.newestMain(slot), this.index.table.newestSub(slot));
  }

  /** The logical step of a compaction at `revision`, which the caller has checked: reads below it fail from now on. */
  scheduleCompaction(revision: number): void {
    assert(revision > this.#compactRevision && revision <= this.#currentRevision, 'compactions ascend', { revision });
    this.#compactRevision = revision;
    writeMetaRevision(this.storage, SCHEDULED_COMPACT_KEY, revision);
  }

  /** The last step of a compaction: all its records are gone. */
  finishCompaction(revision: number): void {
    assert(
      revision > this.#finishedCompactRevision && revision <= this.#compactRevision,
      'a compaction finishes after it was scheduled',
      { revision, finished: this.#finishedCompactRevision, scheduled: this.#compactRevision },
    );
    this.#finishedCompactRevision = revision;
    writeMetaRevision(this.storage, FINISHED_COMPACT_KEY, revision);
  }

  /** Builds the index and tells who names which lease; returns the largest main seen. */
  #restoreIndex(): number {
    let newest = 0;
    this.storage.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
      newest = main;
      if (tombstone) {
        const slot = this.index.restoreTombstone(recordKey(value), main, sub);
        this.#attachments.attach(slot, 0n);
      } else if (value.length === 0) {
        const slot = this.index.restorePut(recordKey(value), main, sub, main, 1);
        this.#attachments.attach(slot, 0n);
      } else {
        const { key, createRevision, version, lease } = decodeKeyValue(value);
        const slot = this.index.restorePut(key, main, sub, createRevision, version);
        this.#attachments.attach(slot, lease);
      }
      return true;
    });
    return newest;
  }
}
