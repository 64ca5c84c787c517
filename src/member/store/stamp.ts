/**
 * Whose data this is. The same stamp is kept in three places: in the log environment, in every state environment (both
 * authoritative, written in their first transaction) and in the file `stamp` beside them, which is a mirror that the
 * host reads to refuse early without opening an environment.
 *
 *   0  u32  magic 'kvst'      8  u64 cluster id     24  u32 crc32c of bytes 0..24
 *   4  u32  format version   16  u64 member id
 *
 * Invariant: when the file `stamp` exists, the log of that directory was created completely.
 */
import * as path from 'node:path';
import { crc32c } from '../../base/crc32c.js';
import { type Files, nodeFiles } from './files.js';
import { viewOf } from './numbers.js';
import { StorageError, StorageErrorKind } from './storage-error.js';

export interface Stamp {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly formatVersion: number;
}

/** The format this version writes, and the newest it reads. */
export const FORMAT_VERSION = 1;
export const STAMP_FILE = 'stamp';
export const STAMP_BYTES = 28;
const MAGIC = 0x7473766b;

/**
 * Reads the stamp of a member's data directory without opening anything else. Undefined: the directory is new (or its
 * first creation did not finish). Throws StorageError `corrupt` when the file is not a stamp.
 */
export function inspectStamp(directory: string, files: Files = nodeFiles): Stamp | undefined {
  const file = path.join(directory, STAMP_FILE);
  const bytes = files.read(file);
  return bytes === undefined ? undefined : decodeStamp(bytes, file);
}

export function encodeStamp(stamp: Stamp): Uint8Array {
  const bytes = new Uint8Array(STAMP_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, stamp.formatVersion, true);
  view.setBigUint64(8, stamp.clusterId, true);
  view.setBigUint64(16, stamp.memberId, true);
  view.setUint32(24, crc32c(bytes.subarray(0, 24)), true);
  return bytes;
}

/** `where` names the place in the error's text. */
export function decodeStamp(bytes: Uint8Array, where: string): Stamp {
  const view = viewOf(bytes);
  if (bytes.length !== STAMP_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw new StorageError(StorageErrorKind.Corrupt, `${where} is not a kvorum member's stamp`);
  }
  if (view.getUint32(24, true) !== crc32c(bytes.subarray(0, 24))) {
    throw new StorageError(StorageErrorKind.Corrupt, `the stamp in ${where} fails its checksum`);
  }
  return {
    formatVersion: view.getUint32(4, true),
    clusterId: view.getBigUint64(8, true),
    memberId: view.getBigUint64(16, true),
  };
}

/** Throws StorageError unless `found` is the data of the expected member in a format we can read. */
export function checkStamp(expected: Stamp, found: Stamp, where: string): void {
  if (found.formatVersion > expected.formatVersion) {
    throw new StorageError(
      StorageErrorKind.Format,
      `${where} was written in format ${found.formatVersion}, newer than format ${expected.formatVersion} of this ` +
        'version: use the version that wrote it, or a newer one',
    );
  }
  if (found.formatVersion < expected.formatVersion) {
    throw new StorageError(
      StorageErrorKind.Format,
      `${where} was written in format ${found.formatVersion}; this version reads format ${expected.formatVersion} only`,
    );
  }
  if (found.clusterId !== expected.clusterId) {
    throw new StorageError(
      StorageErrorKind.OtherCluster,
      `${where} belongs to cluster ${hex(found.clusterId)}, not to cluster ${hex(expected.clusterId)}`,
    );
  }
  if (found.memberId !== expected.memberId) {
    throw new StorageError(
      StorageErrorKind.OtherMember,
      `${where} belongs to member ${hex(found.memberId)}, not to member ${hex(expected.memberId)}: were the ` +
        'directories of two members swapped?',
    );
  }
}

function hex(id: bigint): string {
  return id.toString(16);
}
