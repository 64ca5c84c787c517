/**
 * The few file calls that durability rests on, behind an interface so that tests can fail, delay, tear or forget any of
 * them. All are synchronous: a member's turn has nothing else to do while its disk works, and what arrives meanwhile is
 * the next batch.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';

export interface Files {
  /** Opens for reading and writing; `create` truncates or creates. Returns a handle. */
  open(file: string, create: boolean): number;
  /** Writes `bytes[0, length)` at `position` in one call; returns the number of bytes written. */
  write(handle: number, bytes: Uint8Array, length: number, position: number): number;
  /** Data, and the metadata needed to read it back, are on disk when this returns. */
  datasync(handle: number): void;
  close(handle: number): void;
  /** The whole content, or undefined when there is no such file. */
  read(file: string): Uint8Array | undefined;
  rename(from: string, to: string): void;
  /** Makes creations and renames in `directory` durable. */
  syncDirectory(directory: string): void;
  makeDirectory(directory: string): void;
  /** Names in `directory`; empty when there is none. */
  list(directory: string): string[];
  /** Removes a file or a directory with everything in it; nothing happens when there is none. */
  remove(target: string): void;
}

/** The real disk. */
export const nodeFiles: Files = {
  open: (file, create) => fs.openSync(file, create ? 'w+' : 'r+', 0o600),
  write: (handle, bytes, length, position) => fs.writeSync(handle, bytes, 0, length, position),
  datasync: handle => fs.fdatasyncSync(handle),
  close: handle => fs.closeSync(handle),
  read: file => unlessMissing(() => plainBytes(fs.readFileSync(file)), undefined),
  rename: (from, to) => fs.renameSync(from, to),
  syncDirectory: directory => {
    if (process.platform === 'win32') return; // directories cannot be opened there; NTFS journals their changes
    const handle = fs.openSync(directory, 'r');
    try {
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
  },
  makeDirectory: directory => {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  },
  list: directory => unlessMissing(() => fs.readdirSync(directory), []),
  remove: target => fs.rmSync(target, { recursive: true, force: true }),
};

/** The real disk without syncs, for data that may be lost with the process's machine. */
export const nodeFilesUnsynced: Files = { ...nodeFiles, datasync: () => {}, syncDirectory: () => {} };

/** Writes a small file so that after a crash it is there whole or not at all. */
export function writeFileDurably(files: Files, file: string, bytes: Uint8Array): void {
  const temporary = `${file}.new`;
  const handle = files.open(temporary, true);
  try {
    const written = files.write(handle, bytes, bytes.length, 0);
    if (written !== bytes.length) throw new Error(`wrote ${written} of ${bytes.length} bytes to ${temporary}`);
    files.datasync(handle);
  } finally {
    files.close(handle);
  }
  files.rename(temporary, file);
  files.syncDirectory(path.dirname(file));
}

/** A Buffer's memory as what the rest of the code works with. */
function plainBytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function unlessMissing<T>(action: () => T, otherwise: T): T {
  try {
    return action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  }
}
