/**
 * The log's LMDB environment: where entries rest once the write-ahead files have carried them through the moment that
 * had to be fast.
 *
 *   'e' index(8, big-endian)   one entry (log-codec.ts)
 *   '!'                        everything else in one value, rewritten by every commit:
 *                              crc32c u32; version u32; stamp; taken sequence; compacted index, term; last index;
 *                              state generation; bootstrapped u8; hard state; conf states: count u32, (index, state)*
 *
 * Entries in (compacted index, last index] are the log; entries at or below the compacted index are garbage that later
 * commits remove a piece at a time. Every commit is one synced transaction, so '!' always describes exactly the entries
 * beside it.
 */
import { assert } from '../../base/assert.js';
import { crc32c } from '../../base/crc32c.js';
import type { ConfState, Entry, HardState } from '../raft/types.js';
import { Environment, type EnvironmentOptions, type Writer } from '../store/environment.js';
import { getKeyUint64, setKeyUint64, setUint64 } from '../store/numbers.js';
import { decodeStamp, encodeStamp, STAMP_BYTES, type Stamp } from '../store/stamp.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import {
  Cursor,
  ENTRY_VALUE_HEADER_BYTES,
  readConfState,
  readEntryValue,
  readHardState,
  Scratch,
  writeConfState,
  writeEntryValue,
  writeHardState,
} from './log-codec.js';

/** A configuration and the index of the entry whose application made it (0: from the beginning). */
export interface IndexedConfState {
  readonly index: number;
  readonly confState: ConfState;
}

export interface LogMeta {
  readonly stamp: Stamp;
  /** First write-ahead sequence whose effect is not in this environment. */
  readonly takenSequence: number;
  readonly compactedIndex: number;
  readonly compactedTerm: number;
  readonly lastIndex: number;
  /** Which `state-<n>` directory belongs to this log. */
  readonly stateGeneration: number;
  /** False until bootstrap, a first append or a snapshot gave the log content. */
  readonly bootstrapped: boolean;
  readonly hardState: HardState;
  /** Ascending by index; never empty. The first is in force at the compacted index. */
  readonly confStates: readonly IndexedConfState[];
}

/** One commit's worth of changes beside the meta value. */
export interface LogChanges {
  /** Indexes of entries that are present; they are removed first. */
  readonly remove: readonly number[];
  /** Ascending, the first one right behind what is left. */
  readonly append: readonly Entry[];
}

const PREFIX_ENTRY = 0x65;
/** Below the entries: only the greatest keys of a tree can be appended. */
const META_KEY = new Uint8Array([0x21]);
const META_VERSION = 1;
const ENTRY_KEY_BYTES = 9;
const SCRATCH_BYTES = 64 << 10;
const SCRATCH_KEEP_BYTES = 1 << 20;
const PUT_OVERHEAD_BYTES = 32;

export class LogEnvironment {
  readonly #environment: Environment;
  readonly #scratch = new Scratch(SCRATCH_BYTES);
  readonly #key = new Uint8Array(ENTRY_KEY_BYTES);

  private constructor(environment: Environment) {
    this.#environment = environment;
    this.#key[0] = PREFIX_ENTRY;
  }

  static open(options: EnvironmentOptions): LogEnvironment {
    return new LogEnvironment(Environment.open(options));
  }

  /** Undefined: the environment is new. Throws StorageError `corrupt`. */
  readMeta(): LogMeta | undefined {
    const value = this.#environment.get(META_KEY);
    return value === undefined ? undefined : decodeMeta(value);
  }

  /** Indexes in [from, to) of which an entry is present, ascending, at most `limit`. */
  presentIndexes(from: number, to: number, limit: number): number[] {
    const found: number[] = [];
    if (from >= to) return found;
    this.#environment.scanKeys(keyOf(from), keyOf(to), limit, key => found.push(getKeyUint64(key, 1)));
    return found;
  }

  /** The entry, its data copied. Throws StorageError `corrupt` when it is missing or fails its checksum. */
  readEntry(index: number): Entry {
    setKeyUint64(this.#key, 1, index);
    const value = this.#environment.getCopy(this.#key);
    if (value === undefined) throw new StorageError(StorageErrorKind.Corrupt, `log entry ${index} is missing`);
    return readEntryValue(value, index);
  }

  /** One synced transaction. Throws StorageError: final. */
  commit(meta: LogMeta, changes: LogChanges): void {
    let bytes = 1024;
    for (const entry of changes.append) bytes += entry.data.length + ENTRY_VALUE_HEADER_BYTES + PUT_OVERHEAD_BYTES;
    this.#environment.commit(bytes, writer => {
      for (const index of changes.remove) this.#remove(writer, index);
      this.#append(writer, changes.append);
      writer.put(META_KEY, encodeMeta(meta));
    });
    this.#scratch.shrinkTo(SCRATCH_KEEP_BYTES);
  }

  sizeBytes(): number {
    return this.#environment.sizeBytes();
  }

  close(): Promise<void> {
    return this.#environment.close();
  }

  #remove(writer: Writer, index: number): void {
    setKeyUint64(this.#key, 1, index);
    assert(writer.remove(this.#key), 'log entry to remove is missing', { index });
  }

  #append(writer: Writer, entries: readonly Entry[]): void {
    const scratch = this.#scratch;
    for (const entry of entries) {
      scratch.length = 0;
      writeEntryValue(scratch, entry);
      setKeyUint64(this.#key, 1, entry.index);
      writer.append(this.#key, scratch.bytes.subarray(0, scratch.length));
    }
  }
}

/** The meta value of a log without content. */
export function emptyMeta(stamp: Stamp): LogMeta {
  return {
    stamp,
    takenSequence: 1,
    compactedIndex: 0,
    compactedTerm: 0,
    lastIndex: 0,
    stateGeneration: 1,
    bootstrapped: false,
    hardState: { term: 0, vote: 0n, commit: 0 },
    confStates: [{ index: 0, confState: EMPTY_CONF_STATE }],
  };
}

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

function keyOf(index: number): Uint8Array {
  const key = new Uint8Array(ENTRY_KEY_BYTES);
  key[0] = PREFIX_ENTRY;
  setKeyUint64(key, 1, index);
  return key;
}

function encodeMeta(meta: LogMeta): Uint8Array {
  const target = new Scratch(256);
  target.length = 4;
  target.view.setUint32(target.length, META_VERSION, true);
  target.length += 4;
  target.bytes.set(encodeStamp(meta.stamp), target.length);
  target.length += STAMP_BYTES;
  for (const number of [
    meta.takenSequence,
    meta.compactedIndex,
    meta.compactedTerm,
    meta.lastIndex,
    meta.stateGeneration,
  ]) {
    setUint64(target.view, target.length, number);
    target.length += 8;
  }
  target.bytes[target.length++] = meta.bootstrapped ? 1 : 0;
  writeHardState(target, meta.hardState);
  target.reserve(4);
  target.view.setUint32(target.length, meta.confStates.length, true);
  target.length += 4;
  for (const { index, confState } of meta.confStates) {
    target.reserve(8);
    setUint64(target.view, target.length, index);
    target.length += 8;
    writeConfState(target, confState);
  }
  target.view.setUint32(0, crc32c(target.bytes.subarray(4, target.length)), true);
  return target.bytes.subarray(0, target.length);
}

function decodeMeta(value: Uint8Array): LogMeta {
  const source = new Cursor(value);
  if (value.length < 8 || source.uint32() !== crc32c(value.subarray(4))) {
    throw new StorageError(StorageErrorKind.Corrupt, "the log's meta value fails its checksum");
  }
  const version = source.uint32();
  if (version !== META_VERSION) {
    throw new StorageError(StorageErrorKind.Format, `the log's meta value has unknown version ${version}`);
  }
  const stamp = decodeStamp(source.take(STAMP_BYTES), "the log's meta value");
  const takenSequence = source.uint64();
  const compactedIndex = source.uint64();
  const compactedTerm = source.uint64();
  const lastIndex = source.uint64();
  const stateGeneration = source.uint64();
  const bootstrapped = source.uint8() !== 0;
  const hardState = readHardState(source);
  const count = source.uint32();
  const confStates: IndexedConfState[] = [];
  for (let i = 0; i < count; i += 1) confStates.push({ index: source.uint64(), confState: readConfState(source) });
  assert(confStates.length > 0 && source.at === value.length, "the log's meta value has an impossible length");
  return {
    stamp,
    takenSequence,
    compactedIndex,
    compactedTerm,
    lastIndex,
    stateGeneration,
    bootstrapped,
    hardState,
    confStates,
  };
}
