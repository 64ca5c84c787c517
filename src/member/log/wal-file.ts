/**
 * One write-ahead file: preallocated, filled front to back, reused.
 *
 *   0      header, first copy   (own sector)      magic, format, generation, seed, first sequence, stamp, crc32c
 *   4096   header, second copy  (own sector)      the same bytes
 *   8192   record, record, record, ...            each starts at a multiple of 8
 *          zeros, or the bytes of a former use
 *
 *   record:  0 u32 crc32c of bytes 4..end, seeded with the header's seed
 *            4 u32 payload length     8 u32 crc of the record before (the seed for the first)
 *           12 u32 type              16 u32 generation
 *           20 u32 zero              24 u64 sequence         32 payload, zero padding to 8
 *
 * A record is part of this use of the file when its checksum, its generation and its sequence are right and it names
 * the checksum of its predecessor; bytes of a former use have another generation, another seed and smaller sequences.
 *
 * A header is on disk, both copies, before the first record of its generation is written; a record is on disk before
 * the next one is written. Hence reading stops at the first record that does not hold, and what it stopped at was
 *   torn    when no later record of the same generation exists: it was never acknowledged, it is dropped;
 *   corrupt when one does: the bad one was acknowledged. Reading reports an error, nothing is dropped.
 * A flipped bit in the very last record cannot be told from a torn write: a chain has no witness for its last link.
 */
import { assert } from '../../base/assert.js';
import { crc32c } from '../../base/crc32c.js';
import type { Files } from '../store/files.js';
import { getUint64, setUint64, viewOf } from '../store/numbers.js';
import { encodeStamp, STAMP_BYTES, type Stamp } from '../store/stamp.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import type { Scratch } from './log-codec.js';

export const WAL_RECORDS_START = 8192;
export const WAL_RECORD_HEADER_BYTES = 32;
const HEADER_BYTES = 64;
const HEADER_SECOND_COPY = 4096;
const MAGIC = 0x6c776b76;
const FORMAT = 1;
const FILL_CHUNK_BYTES = 1 << 20;

export interface WalHeader {
  readonly generation: number;
  /** Unpredictable: payloads chosen by a client cannot pass for records. */
  readonly seed: number;
  readonly firstSequence: number;
}

export interface WalRecord {
  readonly type: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

export interface WalContent {
  readonly header: WalHeader;
  readonly records: readonly WalRecord[];
}

/** A record was written: its bytes, and the milliseconds of the write and of the sync. */
export type WalObserver = (bytes: number, writeMs: number, syncMs: number) => void;

/** Bytes that a record with this payload occupies. */
export function walRecordBytes(payloadBytes: number): number {
  return (WAL_RECORD_HEADER_BYTES + payloadBytes + 7) & ~7;
}

/**
 * Makes an empty file of the given generation at `file`, atomically: under another name until it is complete. Zeros are
 * really written: blocks that were only reserved cost a journal commit at first use. The caller syncs the directory.
 */
export function createWalFile(
  files: Files,
  file: string,
  stamp: Stamp,
  header: WalHeader,
  capacityBytes: number,
): void {
  const temporary = `${file}.new`;
  const handle = files.open(temporary, true);
  try {
    fillWithZeros(files, handle, 0, capacityBytes);
    const block = encodeHeader(stamp, header);
    writeWhole(files, handle, block, block.length, 0);
    files.datasync(handle);
  } finally {
    files.close(handle);
  }
  files.rename(temporary, file);
}

/** Reads header and records. Throws StorageError `corrupt`, `otherMember`, `inconsistent` (no such file). */
export function readWalFile(files: Files, file: string, stamp: Stamp): WalContent & { readonly capacityBytes: number } {
  const bytes = files.read(file);
  if (bytes === undefined) throw new StorageError(StorageErrorKind.Inconsistent, `the log file ${file} is missing`);
  const header = decodeHeader(bytes, stamp, file);
  return { header, records: readRecords(bytes, header, file), capacityBytes: bytes.length };
}

/** The file being written. Every failure is final: the caller must not use it again. */
export class WalFile {
  readonly #files: Files;
  readonly #handle: number;
  readonly #stamp: Stamp;
  readonly #wrote: WalObserver | undefined;
  #capacityBytes: number;
  #generation = 0;
  #seed = 0;
  #previousCrc = 0;
  #position = WAL_RECORDS_START;

  constructor(files: Files, file: string, stamp: Stamp, capacityBytes: number, wrote?: WalObserver) {
    this.#wrote = wrote;
    this.#files = files;
    this.#stamp = stamp;
    this.#capacityBytes = capacityBytes & ~7;
    this.#handle = files.open(file, false);
  }

  /** Bytes left for records. */
  get roomBytes(): number {
    return this.#capacityBytes - this.#position;
  }

  /** Bytes of the whole file. */
  get capacityBytes(): number {
    return this.#capacityBytes;
  }

  /** Makes the file longer, with zeros. Durable when this returns. */
  grow(bytes: number): void {
    fillWithZeros(this.#files, this.#handle, this.#capacityBytes, bytes);
    this.#files.datasync(this.#handle);
    this.#capacityBytes += bytes;
  }

  /** Begins a new use of the file: all its bytes are void from here on. Durable when this returns. */
  reset(header: WalHeader): void {
    const block = encodeHeader(this.#stamp, header);
    writeWhole(this.#files, this.#handle, block, block.length, 0);
    this.#files.datasync(this.#handle);
    this.#generation = header.generation;
    this.#seed = header.seed;
    this.#previousCrc = header.seed;
    this.#position = WAL_RECORDS_START;
  }

  /**
   * Writes the record whose payload stands in `scratch` from WAL_RECORD_HEADER_BYTES to `scratch.length`; the header
   * goes before it. One write, one sync; durable when this returns.
   */
  append(scratch: Scratch, type: number, sequence: number): void {
    const payloadBytes = scratch.length - WAL_RECORD_HEADER_BYTES;
    const total = walRecordBytes(payloadBytes);
    assert(payloadBytes > 0 && total <= this.roomBytes, 'record does not fit', { total, room: this.roomBytes });
    scratch.reserve(total - scratch.length);
    const { bytes, view } = scratch;
    bytes.fill(0, scratch.length, total);
    view.setUint32(4, payloadBytes, true);
    view.setUint32(8, this.#previousCrc, true);
    view.setUint32(12, type, true);
    view.setUint32(16, this.#generation, true);
    view.setUint32(20, 0, true);
    setUint64(view, 24, sequence);
    const crc = crc32c(bytes.subarray(4, scratch.length), this.#seed);
    view.setUint32(0, crc, true);
    const beganMs = performance.now();
    writeWhole(this.#files, this.#handle, bytes, total, this.#position);
    const writtenMs = performance.now();
    this.#files.datasync(this.#handle);
    this.#wrote?.(total, writtenMs - beganMs, performance.now() - writtenMs);
    this.#previousCrc = crc;
    this.#position += total;
  }

  close(): void {
    this.#files.close(this.#handle);
  }
}

function fillWithZeros(files: Files, handle: number, start: number, length: number): void {
  const zeros = new Uint8Array(Math.min(FILL_CHUNK_BYTES, length));
  for (let done = 0; done < length; done += zeros.length) {
    writeWhole(files, handle, zeros, Math.min(zeros.length, length - done), start + done);
  }
}

function writeWhole(files: Files, handle: number, bytes: Uint8Array, length: number, position: number): void {
  const written = files.write(handle, bytes, length, position);
  if (written !== length) throw new Error(`short write: ${written} of ${length} bytes`);
}

/** The first two blocks of the file. */
function encodeHeader(stamp: Stamp, header: WalHeader): Uint8Array {
  const block = new Uint8Array(WAL_RECORDS_START);
  const copy = block.subarray(0, HEADER_BYTES);
  const view = viewOf(copy);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, FORMAT, true);
  view.setUint32(8, header.generation, true);
  view.setUint32(12, header.seed, true);
  setUint64(view, 16, header.firstSequence);
  copy.set(encodeStamp(stamp), 24);
  view.setUint32(HEADER_BYTES - 4, crc32c(copy.subarray(0, HEADER_BYTES - 4)), true);
  block.set(copy, HEADER_SECOND_COPY);
  return block;
}

/** The newer of the two copies that hold. */
function decodeHeader(bytes: Uint8Array, stamp: Stamp, file: string): WalHeader {
  const first = decodeHeaderCopy(bytes, 0, stamp);
  const second = decodeHeaderCopy(bytes, HEADER_SECOND_COPY, stamp);
  const newest = first !== undefined && second !== undefined && second.generation > first.generation ? second : first;
  const header = newest ?? second;
  if (header === undefined) {
    throw new StorageError(StorageErrorKind.Corrupt, `no header of the log file ${file} is this member's and whole`);
  }
  return header;
}

function decodeHeaderCopy(bytes: Uint8Array, at: number, stamp: Stamp): WalHeader | undefined {
  if (bytes.length < WAL_RECORDS_START) return undefined;
  const copy = bytes.subarray(at, at + HEADER_BYTES);
  const view = viewOf(copy);
  if (view.getUint32(HEADER_BYTES - 4, true) !== crc32c(copy.subarray(0, HEADER_BYTES - 4))) return undefined;
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== FORMAT) return undefined;
  if (Buffer.compare(copy.subarray(24, 24 + STAMP_BYTES), encodeStamp(stamp)) !== 0) return undefined;
  return {
    generation: view.getUint32(8, true),
    seed: view.getUint32(12, true),
    firstSequence: getUint64(view, 16),
  };
}

function readRecords(bytes: Uint8Array, header: WalHeader, file: string): WalRecord[] {
  const view = viewOf(bytes);
  const records: WalRecord[] = [];
  let at = WAL_RECORDS_START;
  let sequence = header.firstSequence;
  let previousCrc = header.seed;
  for (;;) {
    const record = readRecord(bytes, view, at, header);
    if (record === undefined || record.sequence !== sequence || view.getUint32(at + 8, true) !== previousCrc) break;
    records.push(record);
    previousCrc = view.getUint32(at, true);
    at += walRecordBytes(record.payload.length);
    sequence += 1;
  }
  for (let later = at; later + WAL_RECORD_HEADER_BYTES <= bytes.length; later += 8) {
    if (view.getUint32(later + 16, true) !== header.generation) continue;
    const record = readRecord(bytes, view, later, header);
    if (record === undefined || record.sequence < sequence) continue;
    throw new StorageError(
      StorageErrorKind.Corrupt,
      `the log file ${file} is damaged: record ${sequence} at byte ${at} does not hold, record ${record.sequence} at ` +
        `byte ${later} does`,
    );
  }
  return records;
}

/** The record at `at` if it holds by itself: length, generation, checksum. */
function readRecord(bytes: Uint8Array, view: DataView, at: number, header: WalHeader): WalRecord | undefined {
  if (at + WAL_RECORD_HEADER_BYTES > bytes.length) return undefined;
  if (view.getUint32(at + 16, true) !== header.generation) return undefined;
  const payloadBytes = view.getUint32(at + 4, true);
  const end = at + WAL_RECORD_HEADER_BYTES + payloadBytes;
  if (payloadBytes === 0 || end > bytes.length) return undefined;
  if (view.getUint32(at, true) !== crc32c(bytes.subarray(at + 4, end), header.seed)) return undefined;
  return {
    type: view.getUint32(at + 12, true),
    sequence: getUint64(view, at + 24),
    payload: bytes.slice(at + WAL_RECORD_HEADER_BYTES, end),
  };
}
