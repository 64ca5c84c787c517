/**
 * The data directory: one folder per member beside a lock file and a description of the cluster that owns it.
 *
 *     kvorum.data/
 *       lock           process id and start time of the host that uses it
 *       cluster.json   cluster id, token and founding members; written before any member exists, and then whenever the
 *                      host has heard that a member was added or removed
 *       tls/           certificates that --auto-tls made (tls/auto.ts)
 *       m1/ m2/ m3/    one store per member; a removed member's is deleted, for its id can never come back
 *
 * One host at a time: two hosts on one directory would each believe to own its stores. The lock is a file created with
 * O_EXCL that names its process; a lock whose process is gone (kill -9, power cut) is taken over.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Layout version of the whole directory; a newer one is refused. */
const formatVersion = 1;

/** A start-up problem the operator can mend; its message is one line that names the fix. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** A member that was not there when the cluster was founded. */
export interface AddedMember {
  readonly id: string;
  readonly name: string;
  readonly peerUrls: readonly string[];
  /** Where its endpoint listens. */
  readonly clientUrl: string;
  /** Where its metrics are besides; undefined: it was added to a cluster without metrics URLs. */
  readonly metricsUrl?: string;
  /** Its store has been made. */
  readonly complete: boolean;
}

/** The cluster a data directory belongs to. Ids are lower-case hex without leading zeros, as etcd prints them. */
export interface ClusterDescription {
  readonly formatVersion: number;
  readonly clusterId: string;
  readonly token: string;
  readonly members: readonly { readonly id: string; readonly name: string; readonly peerUrls: readonly string[] }[];
  /** Founding members that were removed, by id. */
  readonly removed?: readonly string[];
  readonly added?: readonly AddedMember[];
  /** The log index up to which changes of the membership are in here. */
  readonly membersIndex?: number;
  /** Every member's store has been made: from then on a missing one was lost, and is never made anew. */
  readonly complete: boolean;
}

export class DataDirectory {
  readonly path: string;
  readonly #ephemeral: boolean;

  private constructor(path: string, ephemeral: boolean) {
    this.path = path;
    this.#ephemeral = ephemeral;
  }

  /** Creates the directory if need be and locks it. Throws StartError when it is in use or not writable. */
  static open(path: string, options: { ephemeral: boolean }): DataDirectory {
    try {
      makeDirectories(path);
    } catch (error) {
      throw new StartError(`cannot create data directory ${path}: ${reason(error)}; choose another with --data-dir`);
    }
    takeLock(path);
    return new DataDirectory(path, options.ephemeral);
  }

  memberDirectory(name: string): string {
    return join(this.path, name);
  }

  /** Deletes what a removed member leaves behind. */
  removeMemberDirectory(name: string): void {
    rmSync(this.memberDirectory(name), { recursive: true, force: true });
  }

  /** The cluster this directory was founded with; undefined for a new directory. */
  describe(): ClusterDescription | undefined {
    const path = join(this.path, 'cluster.json');
    if (!existsSync(path)) return undefined;
    let description: ClusterDescription;
    try {
      description = JSON.parse(readFileSync(path, 'utf8')) as ClusterDescription;
    } catch (error) {
      throw new StartError(`${path} is not readable as a cluster description: ${reason(error)}; restore or remove it`);
    }
    if (description.formatVersion > formatVersion) {
      const versions = `format ${description.formatVersion}, this kvorum knows up to ${formatVersion}`;
      throw new StartError(`data directory ${this.path} was written by a newer kvorum (${versions}); upgrade kvorum`);
    }
    return description;
  }

  /** Records the founding members before any of them is created, and later that all are. Durable and atomic. */
  record(description: Omit<ClusterDescription, 'formatVersion'>): void {
    const path = join(this.path, 'cluster.json');
    writeDurably(`${path}.new`, `${JSON.stringify({ ...description, formatVersion }, undefined, 2)}\n`);
    renameSync(`${path}.new`, path);
    syncDirectory(this.path);
  }

  /** Releases the lock; an ephemeral directory is removed whole. */
  close(): void {
    if (this.#ephemeral) rmSync(this.path, { recursive: true, force: true });
    else rmSync(join(this.path, 'lock'), { force: true });
  }
}

/** Not mkdir's own `recursive`: where a parent cannot hold directories (/proc) that one never returns. */
export function makeDirectories(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeDirectories(parent);
  mkdirSync(path, { mode: 0o700 });
}

function takeLock(directory: string): void {
  const path = join(directory, 'lock');
  const own = join(directory, `lock.${process.pid}`);
  try {
    writeFileSync(own, `${process.pid} ${startTimeOf(process.pid) ?? ''}\n`);
  } catch (error) {
    throw new StartError(
      `data directory ${directory} is not writable: ${reason(error)}; choose another with --data-dir`,
    );
  }
  try {
    // link() fails when the name exists: the lock appears whole or not at all, never as an empty file.
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(own, path);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        refuseIfAlive(directory, path);
        takeAwayStale(directory, path);
      }
    }
    throw new StartError(
      `data directory ${directory} is being opened by another kvorum; stop it or use another --data-dir`,
    );
  } finally {
    unlinkSync(own);
  }
}

function refuseIfAlive(directory: string, lockPath: string): void {
  const [pidText, startTime] = readLock(lockPath).trim().split(' ');
  const pid = Number(pidText);
  const alive = Number.isInteger(pid) && pid > 0 && isAlive(pid, startTime ?? '');
  if (!alive) return;
  throw new StartError(
    `data directory ${directory} is in use by process ${pid}; stop that kvorum or choose another with --data-dir`,
  );
}

/**
 * Moves a dead host's lock away. Of two hosts that saw the same stale lock the slower one may move the faster one's
 * fresh lock: it finds a living owner in what it moved, puts it back and gives up.
 */
function takeAwayStale(directory: string, lockPath: string): void {
  const aside = `${lockPath}.stale.${process.pid}`;
  try {
    renameSync(lockPath, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    refuseIfAlive(directory, aside);
  } catch (error) {
    linkSync(aside, lockPath);
    throw error;
  } finally {
    unlinkSync(aside);
  }
}

function readLock(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** A process id alone may have been reused; where /proc tells the start time, that must match too. */
function isAlive(pid: number, startTime: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startTimeOf(pid);
  return now === undefined || startTime === '' || now === startTime;
}

/** Field 22 of /proc/<pid>/stat: start time in clock ticks after boot. Undefined where /proc is not there. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** Makes a directory's own name durable. */
export function syncParent(path: string): void {
  syncDirectory(dirname(path));
}

function reason(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
