/**
 * A disk in memory that keeps what was synced apart from what was only written, so that a test can cut the power: of
 * every unsynced 512-byte sector either the old or the new content survives, as `survives` decides.
 */
import type { Files } from '../../../src/member/store/files.js';

const SECTOR_BYTES = 512;

interface SimulatedFile {
  written: Uint8Array;
  synced: Uint8Array;
}

export class SimulatedFiles implements Files {
  readonly #files = new Map<string, SimulatedFile>();
  readonly #handles = new Map<number, string>();
  #nextHandle = 1;
  /** Throw from here to fail a call. */
  beforeWrite: (bytes: number) => void = () => {};
  beforeSync: () => void = () => {};

  open(file: string, create: boolean): number {
    if (create) this.#files.set(file, { written: new Uint8Array(0), synced: new Uint8Array(0) });
    if (!this.#files.has(file)) throw new Error(`no such file: ${file}`);
    const handle = this.#nextHandle++;
    this.#handles.set(handle, file);
    return handle;
  }

  write(handle: number, bytes: Uint8Array, length: number, position: number): number {
    this.beforeWrite(length);
    const file = this.#fileOf(handle);
    if (file.written.length < position + length) file.written = resized(file.written, position + length);
    file.written.set(bytes.subarray(0, length), position);
    return length;
  }

  datasync(handle: number): void {
    this.beforeSync();
    const file = this.#fileOf(handle);
    file.synced = file.written.slice();
  }

  close(handle: number): void {
    this.#handles.delete(handle);
  }

  read(file: string): Uint8Array | undefined {
    return this.#files.get(file)?.written.slice();
  }

  rename(from: string, to: string): void {
    this.#files.set(to, this.content(from));
    this.#files.delete(from);
  }

  syncDirectory(): void {}

  makeDirectory(): void {}

  list(directory: string): string[] {
    const names: string[] = [];
    for (const file of this.#files.keys()) {
      if (file.startsWith(`${directory}/`)) names.push(file.slice(directory.length + 1));
    }
    return names;
  }

  remove(target: string): void {
    this.#files.delete(target);
  }

  content(file: string): SimulatedFile {
    const found = this.#files.get(file);
    if (found === undefined) throw new Error(`no such file: ${file}`);
    return found;
  }

  /** The power goes. `survives` is asked for every sector that differs from what was synced. */
  crash(survives: () => boolean): void {
    this.#handles.clear();
    for (const file of this.#files.values()) {
      const kept = file.synced.slice();
      for (let at = 0; at < kept.length; at += SECTOR_BYTES) {
        const end = Math.min(at + SECTOR_BYTES, kept.length);
        const sector = file.written.subarray(at, end);
        if (Buffer.compare(sector, kept.subarray(at, end)) !== 0 && survives()) kept.set(sector, at);
      }
      file.written = kept;
      file.synced = kept.slice();
    }
  }

  /** Replaces bytes on disk, synced: what a bad sector or a stray write does. */
  damage(file: string, change: (bytes: Uint8Array) => void): void {
    const content = this.content(file);
    change(content.synced);
    content.written = content.synced.slice();
  }

  #fileOf(handle: number): SimulatedFile {
    const file = this.#handles.get(handle);
    if (file === undefined) throw new Error('the handle is closed');
    return this.content(file);
  }
}

function resized(bytes: Uint8Array, length: number): Uint8Array {
  const larger = new Uint8Array(length);
  larger.set(bytes);
  return larger;
}
