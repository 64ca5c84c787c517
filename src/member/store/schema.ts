/**
 * Every table of the state environment and how its keys and values are written. One tree; a table is a prefix.
 *
 *   0x01                                 applied: index u64, term u64                      written by every commit
 *   0x02                                 stamp (stamp.ts)                                  written by the first commit
 *   0x10..0x1e  kind u8, key             the small tables below
 *   0x80        main u64, '_', sub u64   records: etcd's bucket `key`; one byte 't' more marks a tombstone
 *
 * Numbers in keys are big-endian, so that keys sort by revision. The records' prefix is the greatest, so that new
 * revisions are appended at the end of the tree and fill its pages completely.
 *
 * Small keys: kind 0 stands before a key as it is, kind 1 before the SHA-256 of a key that is too long for LMDB; then
 * the value begins with the key's length (u32) and the key. Empty keys are possible.
 *
 * Every value ends with a crc32c (u32, little-endian) over the rest, seeded with its place: a record with its revision,
 * everything else with the first byte of its key. It never appears in what a read returns.
 */
import { crc32c } from '../../base/crc32c.js';
import { getKeyUint64, setKeyUint64, viewOf } from './numbers.js';
import { StorageError, StorageErrorKind } from './storage-error.js';

/** etcd's buckets other than `key`; the names and numbers are ours. */
const TABLE_PREFIXES = {
  meta: 0x10,
  members: 0x11,
  membersRemoved: 0x12,
  cluster: 0x13,
  lease: 0x14,
  alarm: 0x15,
  auth: 0x16,
  authUsers: 0x17,
  authRoles: 0x18,
} as const;
export type Table = keyof typeof TABLE_PREFIXES;

/** The small table whose entries begin with this byte; undefined when none does. */
export function tableOf(prefix: number): Table | undefined {
  return tables.find(table => TABLE_PREFIXES[table] === prefix);
}

const tables = Object.keys(TABLE_PREFIXES) as Table[];

export const APPLIED_KEY = new Uint8Array([0x01]);
export const STAMP_KEY = new Uint8Array([0x02]);
export const RECORD_PREFIX = 0x80;
/** Prefix, main, '_', sub. */
export const RECORD_KEY_BYTES = 18;
export const TOMBSTONE_KEY_BYTES = RECORD_KEY_BYTES + 1;
export const CHECKSUM_BYTES = 4;
/** All keys lie in [FIRST_KEY, END_KEY). */
export const FIRST_KEY = new Uint8Array([0x00]);
export const END_KEY = new Uint8Array([0xff]);

const UNDERSCORE = 0x5f;
const TOMBSTONE = 0x74;
const LITERAL = 0;
const HASHED = 1;
/** Well below LMDB's limit of 1978 bytes; etcd itself has no limit but the size of a request. */
const LITERAL_KEY_BYTES_MAX = 1024;
const LITTLE_ENDIAN = true;

/** Writes the key of a record into `target` (RECORD_KEY_BYTES, or TOMBSTONE_KEY_BYTES for a tombstone). */
export function writeRecordKey(target: Uint8Array, main: number, sub: number): void {
  target[0] = RECORD_PREFIX;
  setKeyUint64(target, 1, main);
  target[9] = UNDERSCORE;
  setKeyUint64(target, 10, sub);
  if (target.length === TOMBSTONE_KEY_BYTES) target[18] = TOMBSTONE;
}

export function mainOf(recordKey: Uint8Array): number {
  return getKeyUint64(recordKey, 1);
}

export function subOf(recordKey: Uint8Array): number {
  return getKeyUint64(recordKey, 10);
}

export function isTombstone(recordKey: Uint8Array): boolean {
  return recordKey.length === TOMBSTONE_KEY_BYTES;
}

/** The seed of a record's checksum: a value that was written for another revision never passes. */
export function recordSeed(main: number, sub: number): number {
  return (main + sub * 0x9e3779b1) >>> 0;
}

/** Loaded when first needed: long keys are rare, and node:crypto takes a starting member thread 10 ms. */
function sha256(bytes: Uint8Array): Uint8Array {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(bytes).digest();
}

/** The key of a small table's entry in the tree. */
export function smallKey(table: Table, key: Uint8Array): Uint8Array {
  const hashed = key.length > LITERAL_KEY_BYTES_MAX;
  const rest = hashed ? sha256(key) : key;
  const result = new Uint8Array(2 + rest.length);
  result[0] = TABLE_PREFIXES[table];
  result[1] = hashed ? HASHED : LITERAL;
  result.set(rest, 2);
  return result;
}

/** The value of a small table's entry in the tree: the long key where there is one, the value, the checksum. */
export function encodeSmallValue(treeKey: Uint8Array, key: Uint8Array, value: Uint8Array): Uint8Array {
  const prefix = treeKey[1] === HASHED ? 4 + key.length : 0;
  const result = new Uint8Array(prefix + value.length + CHECKSUM_BYTES);
  if (prefix > 0) {
    viewOf(result).setUint32(0, key.length, LITTLE_ENDIAN);
    result.set(key, 4);
  }
  result.set(value, prefix);
  seal(result, treeKey[0]!);
  return result;
}

/** Key and value of a small table's entry, as views. Throws StorageError `corrupt`. */
export function decodeSmall(treeKey: Uint8Array, stored: Uint8Array): { key: Uint8Array; value: Uint8Array } {
  const value = unseal(stored, treeKey[0]!);
  if (treeKey[1] === LITERAL) return { key: treeKey.subarray(2), value };
  const length = viewOf(value).getUint32(0, LITTLE_ENDIAN);
  return { key: value.subarray(4, 4 + length), value: value.subarray(4 + length) };
}

/** Where a small table begins and ends in the tree. */
export function tableRange(table: Table): { start: Uint8Array; end: Uint8Array } {
  const prefix = TABLE_PREFIXES[table];
  return { start: new Uint8Array([prefix]), end: new Uint8Array([prefix + 1]) };
}

/** Writes the checksum into the last four bytes of `bytes`. */
export function seal(bytes: Uint8Array, seed: number): void {
  const end = bytes.length - CHECKSUM_BYTES;
  writeChecksum(bytes, end, crc32c(bytes.subarray(0, end), seed));
}

/** `stored` without its checksum, as a view. Throws StorageError `corrupt` when it does not hold. */
export function unseal(stored: Uint8Array, seed: number): Uint8Array {
  const end = stored.length - CHECKSUM_BYTES;
  if (end >= 0) {
    const value = stored.subarray(0, end);
    if (crc32c(value, seed) === readChecksum(stored, end)) return value;
  }
  throw new StorageError(StorageErrorKind.Corrupt, `a stored value of ${stored.length} bytes fails its checksum`);
}

/** The checksum of a stored value, which holds: crc32c of the rest behind its seed. */
export function checksumOf(stored: Uint8Array): number {
  return readChecksum(stored, stored.length - CHECKSUM_BYTES);
}

function writeChecksum(target: Uint8Array, at: number, checksum: number): void {
  target[at] = checksum;
  target[at + 1] = checksum >>> 8;
  target[at + 2] = checksum >>> 16;
  target[at + 3] = checksum >>> 24;
}

function readChecksum(source: Uint8Array, at: number): number {
  return (source[at]! | (source[at + 1]! << 8) | (source[at + 2]! << 16) | (source[at + 3]! << 24)) >>> 0;
}
