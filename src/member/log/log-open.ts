/**
 * Creating and opening the log's files. What a data directory holds, and in which order it comes to be:
 *
 *   log/           LMDB environment                1. created, first commit carries the stamp
 *   wal-0, wal-1   write-ahead files               2. each complete before it gets its name
 *   stamp          whose data this is              3. written last: where it is, 1 and 2 were complete
 *   state-<n>/     LMDB environment of the state   (the state store's; the log names the current n)
 *
 * A crash between these steps leaves a directory that the next open completes.
 */
import * as path from 'node:path';
import type { BeforeWrite } from '../store/environment.js';
import { type Files, nodeFiles, nodeFilesUnsynced, writeFileDurably } from '../store/files.js';
import { checkStamp, encodeStamp, inspectStamp, STAMP_FILE, type Stamp } from '../store/stamp.js';
import { removeOtherStateDirectories } from '../store/state-directory.js';
import { asStorageError, StorageError, StorageErrorKind } from '../store/storage-error.js';
import { emptyMeta, LogEnvironment, type LogMeta } from './log-environment.js';
import type { WalObserver } from './wal-file.js';
import {
  createWriteAheadLog,
  type Recovered,
  recoverWriteAheadLog,
  removeWriteAheadLog,
  WriteAheadLog,
  type WriteAheadLogOptions,
} from './write-ahead-log.js';

export interface RaftLogOptions {
  /** The member's data directory; created when missing. */
  readonly directory: string;
  readonly stamp: Stamp;
  /** Bytes of entries kept in memory once they are in LMDB. Default 16 MiB. */
  readonly cacheBytesMax?: number;
  /** What each of the two write-ahead files grows to under load. Default 16 MiB. */
  readonly walFileBytes?: number;
  /** Entries moved to LMDB in one transaction, at most. Default 1024: measured to stay below 10 ms at p99. */
  readonly moveEntriesMax?: number;
  /** Address space reserved for the log's environment. Default 64 GiB; sparse. */
  readonly mapSizeBytes?: number;
  /** False: nothing is synced; for throw-away clusters. Default true. */
  readonly durable?: boolean;
  /** Called before every write to disk; may block or throw. For fault injection and metrics. */
  readonly beforeWrite?: BeforeWrite;
  /** The disk. Default: the real one. */
  readonly files?: Files;
  /** Told of every record that was written to a write-ahead file. */
  readonly wrote?: WalObserver;
}

/** What RaftLog starts from. */
export interface OpenedLog {
  readonly environment: LogEnvironment;
  readonly meta: LogMeta;
  readonly wal: WriteAheadLog;
  readonly recovered: Recovered;
}

const LOG_DIRECTORY = 'log';
const WAL_FILE_BYTES_DEFAULT = 16 << 20;
const MAP_SIZE_BYTES_DEFAULT = 64 * 2 ** 30;

/** Throws StorageError: `otherCluster`, `otherMember`, `format`, `inconsistent`, `corrupt`, `io`. */
export function openLog(options: RaftLogOptions): OpenedLog {
  const { directory, stamp } = options;
  const durable = options.durable ?? true;
  const files = options.files ?? (durable ? nodeFiles : nodeFilesUnsynced);
  files.makeDirectory(directory);
  const mirror = inspectStamp(directory, files);
  if (mirror !== undefined) checkStamp(stamp, mirror, directory);
  const environment = LogEnvironment.open({
    what: 'log',
    directory: path.join(directory, LOG_DIRECTORY),
    mapSizeBytes: options.mapSizeBytes ?? MAP_SIZE_BYTES_DEFAULT,
    durable,
    beforeWrite: options.beforeWrite,
  });
  try {
    const found = environment.readMeta();
    if (found !== undefined) checkStamp(stamp, found.stamp, directory);
    const fileBytesMax = options.walFileBytes ?? WAL_FILE_BYTES_DEFAULT;
    const walOptions = { files, directory, stamp, fileBytesMax, wrote: options.wrote };
    if (mirror === undefined) completeCreation(environment, found, walOptions);
    else if (found === undefined) throw lost(directory);
    const meta = found ?? emptyMeta(stamp);
    removeOtherStateDirectories(directory, meta.stateGeneration, files);
    const recovered = recoverWriteAheadLog(walOptions, meta.takenSequence);
    return { environment, meta, recovered, wal: new WriteAheadLog(walOptions, recovered, meta.takenSequence) };
  } catch (error) {
    void environment.close();
    throw asStorageError(error, `cannot open the log in ${directory}`);
  }
}

function completeCreation(environment: LogEnvironment, found: LogMeta | undefined, wal: WriteAheadLogOptions): void {
  if (found === undefined) {
    environment.commit(emptyMeta(wal.stamp), { remove: [], append: [] });
    wal.files.syncDirectory(path.join(wal.directory, LOG_DIRECTORY));
    wal.files.syncDirectory(path.dirname(wal.directory));
  }
  const names = wal.files.list(wal.directory);
  const walIsComplete = names.includes('wal-0') && names.includes('wal-1');
  if (found === undefined || (!walIsComplete && !found.bootstrapped)) {
    removeWriteAheadLog(wal.files, wal.directory);
    createWriteAheadLog(wal);
  }
  writeFileDurably(wal.files, path.join(wal.directory, STAMP_FILE), encodeStamp(wal.stamp));
}

function lost(directory: string): StorageError {
  return new StorageError(
    StorageErrorKind.Inconsistent,
    `${directory} was a member's data directory, but its log is gone: this member must not vote again under its old ` +
      'id. Remove it from the cluster and add it anew',
  );
}
