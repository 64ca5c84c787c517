/**
 * What the raft log writes, byte by byte; the same pieces stand in write-ahead records and in LMDB values.
 *
 *   hard state   term u64, vote u64, commit u64
 *   conf state   auto-leave u8, then four lists (voters, learners, outgoing voters, next learners): count u32, ids u64
 *   entry        type u8, term u64, data                              (length and index stand outside)
 *   LMDB value   crc32c u32 over the rest, seeded with the index; entry
 *
 * Little-endian. No field is optional, nothing is padded.
 */
import { assert } from '../../base/assert.js';
import { crc32c } from '../../base/crc32c.js';
import type { ConfState, Entry, EntryType, HardState, MemberId } from '../raft/types.js';
import { getUint64, setUint64, viewOf } from '../store/numbers.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';

export const HARD_STATE_BYTES = 24;
export const ENTRY_HEADER_BYTES = 9;
export const ENTRY_VALUE_HEADER_BYTES = 4 + ENTRY_HEADER_BYTES;

/** A buffer that grows, its view, and where the next byte goes. Reused for every write. */
export class Scratch {
  bytes: Uint8Array;
  view: DataView;
  length = 0;

  constructor(capacityBytes: number) {
    this.bytes = new Uint8Array(capacityBytes);
    this.view = viewOf(this.bytes);
  }

  /** Makes room for `more` bytes behind `length`; what is before stays. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    this.view = viewOf(larger);
  }

  /** Gives back what one giant write left behind. */
  shrinkTo(capacityBytes: number): void {
    if (this.bytes.length <= capacityBytes) return;
    this.bytes = new Uint8Array(capacityBytes);
    this.view = viewOf(this.bytes);
    this.length = 0;
  }
}

/** Reads forward through checksummed bytes. Running over the end is an assertion: the checksum said they were whole. */
export class Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.at = at;
  }

  uint8(): number {
    return this.bytes[this.#step(1)]!;
  }

  uint32(): number {
    return this.view.getUint32(this.#step(4), true);
  }

  uint64(): number {
    return getUint64(this.view, this.#step(8));
  }

  bigUint64(): bigint {
    return this.view.getBigUint64(this.#step(8), true);
  }

  take(length: number): Uint8Array {
    const at = this.#step(length);
    return this.bytes.subarray(at, at + length);
  }

  #step(length: number): number {
    const at = this.at;
    assert(at + length <= this.bytes.length, 'stored bytes end early', { at, length, total: this.bytes.length });
    this.at = at + length;
    return at;
  }
}

export function writeHardState(target: Scratch, state: HardState): void {
  target.reserve(HARD_STATE_BYTES);
  const { view, length } = target;
  setUint64(view, length, state.term);
  view.setBigUint64(length + 8, state.vote, true);
  setUint64(view, length + 16, state.commit);
  target.length = length + HARD_STATE_BYTES;
}

export function readHardState(source: Cursor): HardState {
  return { term: source.uint64(), vote: source.bigUint64(), commit: source.uint64() };
}

export function writeConfState(target: Scratch, state: ConfState): void {
  const lists = [state.voters, state.learners, state.votersOutgoing, state.learnersNext];
  let bytes = 1;
  for (const list of lists) bytes += 4 + list.length * 8;
  target.reserve(bytes);
  target.bytes[target.length++] = state.autoLeave ? 1 : 0;
  for (const list of lists) {
    target.view.setUint32(target.length, list.length, true);
    target.length += 4;
    for (const id of list) {
      target.view.setBigUint64(target.length, id, true);
      target.length += 8;
    }
  }
}

export function readConfState(source: Cursor): ConfState {
  const autoLeave = source.uint8() !== 0;
  const voters = readIds(source);
  const learners = readIds(source);
  const votersOutgoing = readIds(source);
  const learnersNext = readIds(source);
  return { voters, learners, votersOutgoing, learnersNext, autoLeave };
}

function readIds(source: Cursor): MemberId[] {
  const count = source.uint32();
  const ids: MemberId[] = [];
  for (let i = 0; i < count; i += 1) ids.push(source.bigUint64());
  return ids;
}

/** Writes the entry without its index. */
export function writeEntry(target: Scratch, entry: Entry): void {
  const size = ENTRY_HEADER_BYTES + entry.data.length;
  target.reserve(size);
  const { bytes, view, length } = target;
  bytes[length] = entry.type;
  setUint64(view, length + 1, entry.term);
  bytes.set(entry.data, length + ENTRY_HEADER_BYTES);
  target.length = length + size;
}

/** `length` bytes of one entry; its data is a view of the source. */
export function readEntry(source: Cursor, index: number, length: number): Entry {
  assert(length >= ENTRY_HEADER_BYTES, 'stored entry is too short', { index, length });
  const type = source.uint8();
  assert(type <= 2, 'stored entry has no known type', { index, type });
  const term = source.uint64();
  return { type: type as EntryType, term, index, data: source.take(length - ENTRY_HEADER_BYTES) };
}

/** Appends the LMDB value of `entry` to `target` and returns where it starts. */
export function writeEntryValue(target: Scratch, entry: Entry): number {
  const start = target.length;
  target.reserve(4);
  target.length += 4;
  writeEntry(target, entry);
  const checksum = crc32c(target.bytes.subarray(start + 4, target.length), seedOf(entry.index));
  target.view.setUint32(start, checksum, true);
  return start;
}

/** The entry of an LMDB value; its data is a view of `value`. Throws StorageError `corrupt`. */
export function readEntryValue(value: Uint8Array, index: number): Entry {
  const source = new Cursor(value);
  const valid =
    value.length >= ENTRY_VALUE_HEADER_BYTES && source.uint32() === crc32c(value.subarray(4), seedOf(index));
  if (!valid) throw new StorageError(StorageErrorKind.Corrupt, `log entry ${index} fails its checksum`);
  return readEntry(source, index, value.length - 4);
}

function seedOf(index: number): number {
  return index >>> 0;
}
