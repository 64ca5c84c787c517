/**
 * A member's finished state becomes that of another: the same content under another stamp.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Environment } from './environment.js';
import { STAMP_KEY } from './schema.js';
import { encodeStamp, type Stamp } from './stamp.js';

export interface CopyStateOptions {
  /** A state's directory; no environment in it is open. */
  readonly from: string;
  /** Created. */
  readonly to: string;
  readonly stamp: Stamp;
  readonly mapSizeBytes: number;
  readonly durable: boolean;
}

/** On disk when it returns. Throws the system's error, StorageError `io`. */
export function copyState({ from, to, stamp, mapSizeBytes, durable }: CopyStateOptions): void {
  fs.mkdirSync(to, { recursive: true, mode: 0o700 });
  const target = path.join(to, 'data.mdb');
  fs.copyFileSync(path.join(from, 'data.mdb'), target, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
  if (durable) syncFile(target);
  const environment = Environment.open({ what: 'state', directory: to, mapSizeBytes, durable });
  try {
    environment.commit(0, writer => writer.put(STAMP_KEY, encodeStamp(stamp)));
  } finally {
    void environment.close();
  }
  if (durable) syncFile(to);
}

function syncFile(target: string): void {
  const descriptor = fs.openSync(target, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}
