/**
 * Snapshot files on disk: the rim around the pure parts of this folder.
 *
 *   <database image, a multiple of 512 bytes> <SHA-256 of the image, 32 bytes>
 *
 * A length of 32 modulo 512 says that there is a digest; a database that was copied out of a data directory has none.
 * Reading goes through a few windows of the file, each read whole, so that memory does not depend on the file's length
 * but on its largest value. A file appears under its name complete and synced, or not at all.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { equalBytes } from '../base/bytes.js';
import { BboltError, type ByteSource, PAGE_SIZE_DEFAULT } from './bbolt/format.js';
import { DatabaseWriter, type WriterOptions } from './bbolt/writer.js';
import { SnapshotError } from './schema.js';

export const DIGEST_BYTES = 32;
const SECTOR_BYTES = 512;
const WINDOW_BYTES = 64 << 10;
const WINDOWS_MAX = 64;
const COPY_BYTES = 1 << 20;
/** One read of the system is shorter than this. */
const READ_BYTES_MAX = 1 << 30;

/** An open snapshot file: its database as a source of bytes, without the digest. */
export class SnapshotFile implements ByteSource {
  /** Of the database. */
  readonly length: number;
  readonly hasDigest: boolean;
  readonly #descriptor: number;
  /** Oldest use first. */
  readonly #windows = new Map<number, Uint8Array>();

  private constructor(descriptor: number, length: number, hasDigest: boolean) {
    this.#descriptor = descriptor;
    this.length = length;
    this.hasDigest = hasDigest;
  }

  /** Throws SnapshotError when the file cannot be opened or its length is none of a snapshot. */
  static open(path: string): SnapshotFile {
    const descriptor = opened(path);
    const stat = fstatSync(descriptor);
    const hasDigest = stat.size % SECTOR_BYTES === DIGEST_BYTES;
    const fits = hasDigest || (stat.size > 0 && stat.size % SECTOR_BYTES === 0);
    if (stat.isFile() && fits) {
      return new SnapshotFile(descriptor, hasDigest ? stat.size - DIGEST_BYTES : stat.size, hasDigest);
    }
    closeSync(descriptor);
    if (!stat.isFile()) throw new SnapshotError(`${path} is not a file`);
    throw new SnapshotError(
      `${path} is no snapshot, or cut short: of ${stat.size} bytes, which is neither whole pages nor pages and a digest`,
    );
  }

  read(offset: number, length: number): Uint8Array {
    if (offset < 0 || length < 0 || offset + length > this.length) {
      throw new BboltError(`${length} bytes at ${offset} are beyond the file's ${this.length} bytes`);
    }
    const start = Math.floor(offset / WINDOW_BYTES) * WINDOW_BYTES;
    if (offset + length > start + WINDOW_BYTES) return this.#readAt(offset, length);
    let window = this.#windows.get(start);
    if (window === undefined) window = this.#readAt(start, Math.min(WINDOW_BYTES, this.length - start));
    else this.#windows.delete(start);
    this.#windows.set(start, window);
    if (this.#windows.size > WINDOWS_MAX) this.#windows.delete(this.#windows.keys().next().value as number);
    return window.subarray(offset - start, offset - start + length);
  }

  /** Reads the whole file. Throws SnapshotError when the digest is not that of the content; without one it is false. */
  verifyDigest(): boolean {
    if (!this.hasDigest) return false;
    const digest = new Uint8Array(digestOf(this.#descriptor, this.length));
    const stored = this.#readAt(this.length, DIGEST_BYTES);
    if (!equalBytes(digest, stored)) {
      throw new SnapshotError('the digest at its end is not that of its content: the file was damaged or changed');
    }
    return true;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #readAt(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const count = readSync(this.#descriptor, bytes, done, Math.min(length - done, READ_BYTES_MAX), offset + done);
      if (count === 0) throw new BboltError('the file became shorter while it was read');
      done += count;
    }
    return bytes;
  }
}

/**
 * A snapshot file in the making, on an empty file that is open for reading and writing: the writer gets every bucket and
 * entry, in as many steps as it takes, then finish() completes the file.
 */
export class SnapshotFileWriter {
  readonly writer: DatabaseWriter;
  readonly #descriptor: number;
  #position: number;

  constructor(descriptor: number, options?: WriterOptions) {
    this.#descriptor = descriptor;
    this.#position = 2 * (options?.pageSize ?? PAGE_SIZE_DEFAULT);
    this.writer = new DatabaseWriter(chunk => {
      writeFully(descriptor, chunk, this.#position);
      this.#position += chunk.length;
    }, options);
  }

  /** The metas, known last, go to the front. Returns the length of the database; its digest is lacking yet. */
  finish(): number {
    const { head, lengthBytes } = this.writer.finish();
    writeFully(this.#descriptor, head, 0);
    this.#position = lengthBytes;
    return lengthBytes;
  }

  /** Behind finish(): a second look at the whole file, whose front was written last. */
  appendDigest(): void {
    writeFully(this.#descriptor, digestOf(this.#descriptor, this.#position), this.#position);
  }
}

/**
 * Writes a snapshot file with its digest: `fill` gives the writer every bucket and entry. Returns the file's length. On
 * any failure nothing is left, and a file that had the name before is untouched.
 */
export function writeSnapshotFile(
  path: string,
  fill: (writer: DatabaseWriter) => void,
  options?: WriterOptions,
): number {
  const file = new NewFile(path);
  try {
    const snapshot = new SnapshotFileWriter(file.descriptor, options);
    fill(snapshot.writer);
    const length = snapshot.finish();
    snapshot.appendDigest();
    file.keep();
    return length + DIGEST_BYTES;
  } catch (error) {
    file.abandon();
    throw error;
  }
}

/** A file that appears under its name complete and synced, or not at all; until then it has the name with `.part`. */
export class NewFile {
  /** Open for reading and writing. */
  readonly descriptor: number;
  readonly #path: string;
  #open = true;

  /** What a former attempt left is overwritten. Throws the system's error. */
  constructor(path: string) {
    this.#path = path;
    this.descriptor = openSync(this.partPath, 'w+', 0o600);
  }

  get partPath(): string {
    return `${this.#path}.part`;
  }

  write(bytes: Uint8Array, position: number): void {
    writeFully(this.descriptor, bytes, position);
  }

  /** Everything is written: on return it is on disk under its name. */
  keep(): void {
    fsyncSync(this.descriptor);
    this.#close();
    renameSync(this.partPath, this.#path);
    syncDirectory(dirname(this.#path));
  }

  /** Nothing is left of it. Idempotent. */
  abandon(): void {
    this.#close();
    rmSync(this.partPath, { force: true });
  }

  #close(): void {
    if (this.#open) closeSync(this.descriptor);
    this.#open = false;
  }
}

function writeFully(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, position + done);
  }
}

function digestOf(descriptor: number, length: number): Buffer {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(COPY_BYTES);
  for (let position = 0; position < length; ) {
    const count = readSync(descriptor, chunk, 0, Math.min(chunk.length, length - position), position);
    if (count === 0) throw new SnapshotError('the file became shorter while it was read');
    hash.update(chunk.subarray(0, count));
    position += count;
  }
  return hash.digest();
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function opened(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new SnapshotError(`${path}: no such file or directory`);
    throw new SnapshotError(`cannot open ${path}: ${message}`);
  }
}
