/**
 * The one error type of a member's storage: log, state store and state transfer.
 *
 * Every one of them is final for the instance that threw it. After an error of kind `io` the state of the page cache is
 * unknown (a later fsync may succeed although pages were dropped), so nothing is retried: the member stops, the files
 * are opened again from what is known to be on disk. The text is written for the person who reads the member's exit
 * reason; `kind` is for the code that decides what to do next.
 */
import { AssertionError } from '../../base/assert.js';

export const StorageErrorKind = {
  /** The directory belongs to another cluster. */
  OtherCluster: 'otherCluster',
  /** The directory belongs to another member of this cluster (directories were swapped or copied). */
  OtherMember: 'otherMember',
  /** The directory was written in a format this version does not know. */
  Format: 'format',
  /** Bytes that were durable do not read back as written: checksum, missing record, impossible length. */
  Corrupt: 'corrupt',
  /** Parts of the directory belong to different moments, or are missing. */
  Inconsistent: 'inconsistent',
  /** A write, a sync or a commit failed. */
  Io: 'io',
  /** The change does not fit below the size the environment was opened with; nothing of it was written. */
  MapFull: 'mapFull',
  /** Used after close() or after an earlier failure. */
  Unusable: 'unusable',
} as const;
export type StorageErrorKind = (typeof StorageErrorKind)[keyof typeof StorageErrorKind];

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly kind: StorageErrorKind;

  constructor(kind: StorageErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

/**
 * What a failed write means for whoever asked: StorageError as it is, a broken law (AssertionError) as it is, and
 * everything else, which came from the system, as kind `io` with `what` before its text.
 */
export function asStorageError(error: unknown, what: string): Error {
  if (error instanceof StorageError || error instanceof AssertionError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new StorageError(StorageErrorKind.Io, `${what}: ${reason}`, error);
}
