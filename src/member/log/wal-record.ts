/**
 * What a write-ahead record of the raft log says: up to four parts, in this order, as its type bits announce them.
 *
 *   8  compaction   index u64, term u64 of the last entry that is forgotten
 *   1  hard state
 *   2  entries      count u32, first index u64, then each entry behind its length u32
 *   4  conf state   index u64 of the entry that brought it, then the configuration
 */
import { assert } from '../../base/assert.js';
import type { Entry, HardState } from '../raft/types.js';
import { setUint64 } from '../store/numbers.js';
import {
  Cursor,
  ENTRY_HEADER_BYTES,
  HARD_STATE_BYTES,
  readConfState,
  readEntry,
  readHardState,
  type Scratch,
  writeConfState,
  writeEntry,
  writeHardState,
} from './log-codec.js';
import type { IndexedConfState } from './log-environment.js';
import type { WalRecord } from './wal-file.js';

const HAS_HARD_STATE = 1;
const HAS_ENTRIES = 2;
const HAS_CONF_STATE = 4;
const HAS_COMPACTION = 8;
const COMPACTION_BYTES = 16;
const ENTRIES_HEADER_BYTES = 12;

/** Entries up to `index` are forgotten; `term` is that entry's. */
export interface Compaction {
  readonly index: number;
  readonly term: number;
}

/** What one append writes. */
export interface LogWrite {
  readonly compaction: Compaction | undefined;
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
}

export interface LogRecord extends LogWrite {
  readonly sequence: number;
  readonly confState: IndexedConfState | undefined;
}

/** Bytes that writeLogRecord() will add. */
export function logRecordBytes({ compaction, hardState, entries }: LogWrite): number {
  let bytes = (compaction === undefined ? 0 : COMPACTION_BYTES) + (hardState === undefined ? 0 : HARD_STATE_BYTES);
  if (entries.length > 0) bytes += ENTRIES_HEADER_BYTES;
  for (const entry of entries) bytes += 4 + ENTRY_HEADER_BYTES + entry.data.length;
  return bytes;
}

/** Adds the payload to `target` and returns the record's type. */
export function writeLogRecord(target: Scratch, { compaction, hardState, entries }: LogWrite): number {
  let type = 0;
  if (compaction !== undefined) {
    type |= HAS_COMPACTION;
    target.reserve(COMPACTION_BYTES);
    setUint64(target.view, target.length, compaction.index);
    setUint64(target.view, target.length + 8, compaction.term);
    target.length += COMPACTION_BYTES;
  }
  if (hardState !== undefined) {
    type |= HAS_HARD_STATE;
    writeHardState(target, hardState);
  }
  if (entries.length > 0) {
    type |= HAS_ENTRIES;
    writeEntries(target, entries);
  }
  return type;
}

/** Adds the payload of a record that carries a configuration only, and returns the record's type. */
export function writeConfStateRecord(target: Scratch, { index, confState }: IndexedConfState): number {
  target.reserve(8);
  setUint64(target.view, target.length, index);
  target.length += 8;
  writeConfState(target, confState);
  return HAS_CONF_STATE;
}

/** The parts of a record; entries' data are views of it. */
export function readLogRecord({ type, payload, sequence }: WalRecord): LogRecord {
  const source = new Cursor(payload);
  const compaction = (type & HAS_COMPACTION) !== 0 ? { index: source.uint64(), term: source.uint64() } : undefined;
  const hardState = (type & HAS_HARD_STATE) !== 0 ? readHardState(source) : undefined;
  const entries = (type & HAS_ENTRIES) !== 0 ? readEntries(source) : [];
  const confState =
    (type & HAS_CONF_STATE) !== 0 ? { index: source.uint64(), confState: readConfState(source) } : undefined;
  assert(source.at === payload.length, 'log record has unknown parts', { sequence, type });
  return { sequence, compaction, hardState, entries, confState };
}

function writeEntries(target: Scratch, entries: readonly Entry[]): void {
  target.reserve(ENTRIES_HEADER_BYTES);
  target.view.setUint32(target.length, entries.length, true);
  setUint64(target.view, target.length + 4, entries[0]!.index);
  target.length += ENTRIES_HEADER_BYTES;
  for (const entry of entries) {
    target.reserve(4);
    target.view.setUint32(target.length, ENTRY_HEADER_BYTES + entry.data.length, true);
    target.length += 4;
    writeEntry(target, entry);
  }
}

function readEntries(source: Cursor): Entry[] {
  const count = source.uint32();
  const first = source.uint64();
  const entries: Entry[] = [];
  for (let i = 0; i < count; i += 1) entries.push(readEntry(source, first + i, source.uint32()));
  return entries;
}
