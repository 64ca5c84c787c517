/**
 * What MVCC needs of the state store, and the few numbers it keeps there beside the records.
 *
 *   meta  scheduledCompactRev   revision (17 bytes) of the last compaction asked for      written at its logical step
 *         finishedCompactRev    revision of the last compaction whose records are gone    written behind the last one
 *
 * Both are etcd's keys and bytes. The current revision has no key of its own and needs none (V1): every revision leaves
 * a record, and compaction at R removes records at or below R only. So the newest revision is either in a record or not
 * above scheduledCompactRev, which was written before the first removal.
 */
import { assert } from '../../base/assert.js';
import { readUint64BE, utf8Encode, writeUint64BE } from '../../base/bytes.js';

export interface Revision {
  readonly main: number;
  readonly sub: number;
}

/**
 * False stops the scan. `value` is valid during the call only; `checksum` is crc32c(value, seed), which the store has
 * verified.
 */
export type RecordVisitor = (
  main: number,
  sub: number,
  tombstone: boolean,
  value: Uint8Array,
  checksum: number,
  seed: number,
) => boolean;

/** The part of the state store that MVCC uses; see there for what each promises. */
export interface MvccStorage {
  putRecord(main: number, sub: number, tombstone: boolean, value: Uint8Array): void;
  /** A view, valid until the next call. */
  getRecord(main: number, sub: number): Uint8Array | undefined;
  deleteRecord(main: number, sub: number, tombstone: boolean): void;
  /** The visitor must not change the store. */
  scanRecords(from: Revision, visit: RecordVisitor): void;
  get(table: 'meta', key: Uint8Array): Uint8Array | undefined;
  put(table: 'meta', key: Uint8Array, value: Uint8Array): void;
}

export const SCHEDULED_COMPACT_KEY = utf8Encode('scheduledCompactRev');
export const FINISHED_COMPACT_KEY = utf8Encode('finishedCompactRev');

const REVISION_BYTES = 17;
const UNDERSCORE = 0x5f;

/** The main of a revision stored under a meta key; undefined when there is none. */
export function readMetaRevision(storage: MvccStorage, key: Uint8Array): number | undefined {
  const bytes = storage.get('meta', key);
  if (bytes === undefined) return undefined;
  assert(bytes.length === REVISION_BYTES && bytes[8] === UNDERSCORE, 'a stored revision has 17 bytes');
  return readUint64BE(bytes, 0);
}

export function writeMetaRevision(storage: MvccStorage, key: Uint8Array, main: number): void {
  storage.put('meta', key, revisionBytes(main, 0, false));
}

/** etcd's key of a record: main, '_', sub, and 't' for a tombstone. */
export function revisionBytes(main: number, sub: number, tombstone: boolean): Uint8Array {
  const bytes = new Uint8Array(tombstone ? REVISION_BYTES + 1 : REVISION_BYTES);
  writeRevision(bytes, main, sub);
  if (tombstone) bytes[REVISION_BYTES] = 0x74;
  return bytes;
}

/** Writes the first 17 bytes of a record key. */
export function writeRevision(target: Uint8Array, main: number, sub: number): void {
  writeUint64BE(target, 0, main);
  target[8] = UNDERSCORE;
  writeUint64BE(target, 9, sub);
}
