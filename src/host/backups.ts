/**
 * Scheduled backups: snapshot files in a directory, written while the cluster runs, the newest of them kept.
 *
 *     kvorum-<cluster id>-20261121T233301.123Z.db
 *
 * The first is due when the newest file that is there is an interval old, so that restarts neither skip a backup nor
 * multiply them; one that failed is tried again soon. A file appears when it is complete, on disk, read again and found
 * whole; older ones are removed after that, never before. Only files of this cluster, with such names, are touched.
 */
import { accessSync, constants, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { makeDirectories, StartError } from './data-directory.js';
import { type BackupCounts, backupCountsOf } from './metrics/backup-counts.js';
import type { SavedSnapshot } from './snapshots.js';

export interface BackupSettings {
  readonly directory: string;
  readonly intervalMs: number;
  /** How many files are kept. */
  readonly retention: number;
}

/** A backup that failed is tried again after this, or after the interval if that is shorter. */
const retryMs = 60_000;
/** Timers that are to ring later ring at once. */
const timerMsMax = 2 ** 31 - 1;

/** Makes the directory. Throws StartError when that, or writing there, is not possible. */
export function prepareBackups({ directory }: BackupSettings): void {
  try {
    makeDirectories(directory);
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new StartError(`cannot write backups to ${directory}: ${code}; choose another --backup-dir`);
  }
}

type Save = (path: string, signal: AbortSignal) => Promise<SavedSnapshot>;

export class Backups {
  readonly #settings: BackupSettings;
  readonly #prefix: string;
  readonly #save: Save;
  readonly #logger: Logger;
  readonly #counts: BackupCounts;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  /** Begins at once, in a directory that prepareBackups was called for. */
  constructor(settings: BackupSettings, clusterId: string, save: Save, logger: Logger) {
    this.#settings = { ...settings, directory: resolve(settings.directory) };
    this.#prefix = `kvorum-${clusterId}-`;
    this.#save = save;
    this.#logger = logger;
    this.#counts = backupCountsOf(clusterId);
    // What a killed process was writing.
    for (const name of this.#names('.db.part')) rmSync(join(this.#settings.directory, name), { force: true });
    this.#running = this.#run();
  }

  /** No backup begins any more, one that is being written is given up. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the cluster closes'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { intervalMs } = this.#settings;
    // The wall clock counts once; one that was set back puts the first off for an interval at most.
    const ageMs = Date.now() - timeOf(this.#names('.db').at(-1) ?? '', this.#prefix);
    let dueMs = performance.now() + Math.min(Math.max(0, intervalMs - ageMs), intervalMs);
    while (!signal.aborted) {
      const pauseMs = dueMs - performance.now();
      if (pauseMs > 0) {
        await delay(Math.min(pauseMs, timerMsMax), undefined, { signal }).catch(() => {});
        continue;
      }
      dueMs = performance.now() + ((await this.#backUp()) ? intervalMs : Math.min(intervalMs, retryMs));
    }
  }

  async #backUp(): Promise<boolean> {
    const startedMs = performance.now();
    const name = `${this.#prefix}${new Date().toISOString().replace(/[-:]/g, '')}.db`;
    const path = join(this.#settings.directory, name);
    try {
      const { bytes, revision } = await this.#save(path, this.#stopping.signal);
      this.#counts.saved += 1;
      this.#counts.lastSavedSeconds = Date.now() / 1_000;
      this.#counts.lastBytes = bytes;
      const took = `${Math.round(performance.now() - startedMs)}ms`;
      this.#logger.info({ path, bytes, revision, took }, 'backup saved');
      this.#prune();
      return true;
    } catch (error) {
      if (this.#stopping.signal.aborted) return false;
      this.#counts.failed += 1;
      this.#logger.error({ path, err: error }, 'backup failed');
      return false;
    }
  }

  #prune(): void {
    const names = this.#names('.db');
    for (const name of names.slice(0, Math.max(0, names.length - this.#settings.retention))) {
      rmSync(join(this.#settings.directory, name), { force: true });
      this.#logger.info({ path: join(this.#settings.directory, name) }, 'old backup removed');
    }
  }

  /** This cluster's files with this ending, oldest first. */
  #names(ending: string): string[] {
    return readdirSync(this.#settings.directory)
      .filter(name => name.endsWith(ending) && timeOf(name, this.#prefix) > 0)
      .sort();
  }
}

/** When a backup was begun; 0: it is none of this cluster. */
function timeOf(name: string, prefix: string): number {
  const pattern = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3})Z\.db(?:\.part)?$/;
  const match = name.startsWith(prefix) ? pattern.exec(name.slice(prefix.length)) : null;
  if (match === null) return 0;
  const [, year, month, day, hour, minute, second] = match;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) || 0;
}
