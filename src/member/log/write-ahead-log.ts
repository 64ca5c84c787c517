/**
 * Two write-ahead files used alternately, seen as one sequence of records.
 *
 *     file 0: [ 17 18 19 20 21 ]  full     -> becomes free once LMDB has durably taken everything before sequence 22
 *     file 1: [ 22 23 24 .     ]  current
 *
 * When the current file is full, appends go on in the other one if that is free. If it is not, the caller moves records
 * to LMDB until it is; a file is never reused before. Sequences count on for the life of the log; generations count
 * uses of files. `taken` (kept in LMDB) is the first sequence that LMDB does not hold.
 *
 * Invariants, checked at open: records from `taken` on are contiguous, across both files; the older file reaches up to
 * the newer one's first sequence. Anything else is damage to acknowledged records and reported as such.
 */
import * as path from 'node:path';
import { assert } from '../../base/assert.js';
import type { Files } from '../store/files.js';
import type { Stamp } from '../store/stamp.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import type { Scratch } from './log-codec.js';
import {
  createWalFile,
  readWalFile,
  WAL_RECORD_HEADER_BYTES,
  WAL_RECORDS_START,
  WalFile,
  type WalObserver,
  type WalRecord,
  walRecordBytes,
} from './wal-file.js';

const NAMES = ['wal-0', 'wal-1'] as const;
const NO_RECORDS = -1;
/** Files begin small: a cluster that writes little neither waits for more zeros nor keeps them on disk. */
const FILE_BYTES_INITIAL = 256 << 10;
const GROW_BYTES = 1 << 20;
/** From this part of the current file on, the other one is made longer while it is free. */
const GROW_FROM_RATIO = 0.25;

export interface WriteAheadLogOptions {
  readonly files: Files;
  readonly directory: string;
  readonly stamp: Stamp;
  /** What each of the two files grows to when there is much to write, header included. */
  readonly fileBytesMax: number;
  readonly wrote?: WalObserver | undefined;
}

/** Makes both files. Durable when this returns; what a former attempt left is overwritten. */
export function createWriteAheadLog(options: WriteAheadLogOptions): void {
  const { files, directory, stamp, fileBytesMax } = options;
  const fileBytes = Math.min(FILE_BYTES_INITIAL, fileBytesMax);
  NAMES.forEach((name, at) => {
    const header = { generation: at + 1, seed: newSeed(), firstSequence: 1 };
    createWalFile(files, path.join(directory, name), stamp, header, fileBytes);
  });
  files.syncDirectory(directory);
}

/** Removes both files and their beginnings. */
export function removeWriteAheadLog(files: Files, directory: string): void {
  for (const name of NAMES) {
    files.remove(path.join(directory, name));
    files.remove(path.join(directory, `${name}.new`));
  }
}

export interface Recovered {
  /** Acknowledged records that LMDB does not hold, oldest first. */
  readonly records: readonly WalRecord[];
  readonly nextSequence: number;
  readonly generation: number;
  /** Position of the file that was written last. */
  readonly newest: number;
  /** Of each file its size, and the last sequence it holds. */
  readonly files: readonly { readonly fileBytes: number; readonly lastSequence: number }[];
}

/**
 * Reads both files. `taken`: the first sequence LMDB does not hold. Throws StorageError `corrupt` when acknowledged
 * records are damaged or missing, `inconsistent` when a file is missing.
 */
export function recoverWriteAheadLog(options: WriteAheadLogOptions, taken: number): Recovered {
  const contents = NAMES.map(name => readWalFile(options.files, path.join(options.directory, name), options.stamp));
  const newest = contents[0]!.header.generation > contents[1]!.header.generation ? 0 : 1;
  const inOrder = [contents[1 - newest]!, contents[newest]!];
  const records = inOrder.flatMap(content => content.records).filter(record => record.sequence >= taken);
  let next = taken;
  for (const record of records) {
    if (record.sequence !== next) throw missing(options.directory, next, record.sequence);
    next += 1;
  }
  const { firstSequence, generation } = contents[newest]!.header;
  if (firstSequence > next) throw missing(options.directory, next, firstSequence);
  const files = contents.map(content => ({
    fileBytes: content.capacityBytes,
    lastSequence: content.records[content.records.length - 1]?.sequence ?? NO_RECORDS,
  }));
  return { records, nextSequence: next, generation, newest, files };
}

export class WriteAheadLog {
  readonly #wals: readonly WalFile[];
  readonly #fileBytesMax: number;
  /** Greatest sequence each file holds, or NO_RECORDS. */
  readonly #lastSequences: number[];
  #current: number;
  #generation: number;
  #nextSequence: number;
  #taken: number;

  /** `taken`: as given to recoverWriteAheadLog(). Call start() before the first append, once nothing waits for it. */
  constructor(options: WriteAheadLogOptions, recovered: Recovered, taken: number) {
    this.#generation = recovered.generation;
    this.#nextSequence = recovered.nextSequence;
    this.#taken = taken;
    this.#fileBytesMax = options.fileBytesMax;
    this.#wals = NAMES.map((name, at) => {
      const file = path.join(options.directory, name);
      return new WalFile(options.files, file, options.stamp, recovered.files[at]!.fileBytes, options.wrote);
    });
    this.#lastSequences = recovered.files.map(file => file.lastSequence);
    this.#current = recovered.newest;
  }

  /**
   * Begins the older file anew, which must be free. The newer one is not written again before LMDB has taken it: a torn
   * record at its end stays where it is. Throws what the disk threw.
   */
  start(): void {
    assert(!this.waitsForMove, 'write-ahead file begun anew before LMDB has taken its records');
    this.#begin(1 - this.#current);
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  /** Whether the other file waits for LMDB: the caller should move records before the current one is full too. */
  get waitsForMove(): boolean {
    return this.#lastSequences[1 - this.#current]! >= this.#taken;
  }

  /** Part of the current file that is written, 0..1. */
  get fillRatio(): number {
    const wal = this.#wals[this.#current]!;
    return 1 - wal.roomBytes / (wal.capacityBytes - WAL_RECORDS_START);
  }

  /** Whether a payload of this size fits into what is left of the current file, or into the other one. */
  fits(payloadBytes: number): boolean {
    const needed = walRecordBytes(payloadBytes);
    return (
      needed <= this.#wals[this.#current]!.roomBytes ||
      needed <= this.#wals[1 - this.#current]!.capacityBytes - WAL_RECORDS_START
    );
  }

  /** Whether LMDB must take the other file's records before a payload of this size can be written. */
  mustMoveFirst(payloadBytes: number): boolean {
    return this.waitsForMove && walRecordBytes(payloadBytes) > this.#wals[this.#current]!.roomBytes;
  }

  /** Makes the other file a piece longer when the current one fills up. Returns whether it did. Throws as append(). */
  growIfDue(): boolean {
    const other = this.#wals[1 - this.#current]!;
    const missing = this.#fileBytesMax - other.capacityBytes;
    if (missing <= 0 || this.fillRatio < GROW_FROM_RATIO) return false;
    other.grow(Math.min(GROW_BYTES, missing));
    return true;
  }

  /** Writes one record, durable on return, and returns its sequence. Throws what the disk threw: final. */
  append(scratch: Scratch, type: number): number {
    const payloadBytes = scratch.length - WAL_RECORD_HEADER_BYTES;
    if (walRecordBytes(payloadBytes) > this.#wals[this.#current]!.roomBytes) {
      assert(!this.waitsForMove, 'write-ahead file reused before LMDB has taken its records');
      this.#begin(1 - this.#current);
    }
    const sequence = this.#nextSequence;
    this.#wals[this.#current]!.append(scratch, type, sequence);
    this.#lastSequences[this.#current] = sequence;
    this.#nextSequence = sequence + 1;
    return sequence;
  }

  /** LMDB durably holds everything before `sequence`. */
  setTaken(sequence: number): void {
    assert(sequence >= this.#taken && sequence <= this.#nextSequence, 'taken sequence out of order', {
      sequence,
      taken: this.#taken,
      next: this.#nextSequence,
    });
    this.#taken = sequence;
  }

  close(): void {
    for (const wal of this.#wals) wal.close();
  }

  #begin(at: number): void {
    this.#generation += 1;
    this.#wals[at]!.reset({ generation: this.#generation, seed: newSeed(), firstSequence: this.#nextSequence });
    this.#lastSequences[at] = NO_RECORDS;
    this.#current = at;
  }
}

function newSeed(): number {
  return (Math.random() * 2 ** 32) >>> 0;
}

function missing(directory: string, expected: number, found: number): StorageError {
  return new StorageError(
    StorageErrorKind.Corrupt,
    `the log in ${directory} is damaged: record ${expected} is missing, the next one is ${found}`,
  );
}
