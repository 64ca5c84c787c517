/**
 * A new cluster's data directory out of a snapshot file, of kvorum or of etcd.
 *
 *     DIR.restoring: locked, emptied -> stores made (in a task thread) -> cluster.json -> renamed to DIR -> unlocked
 *
 * The rename is the only step that anybody can see: killed before it, there is no DIR, and the next restore begins anew
 * in what was left; after it, a cluster that starts as it was at the snapshot.
 */
// As for a cluster: the addon stays while late finalizers of an ended thread may need it.
import 'lmdb';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import type { RestoredSnapshot, RestoreProgress, RestoreTask } from '../transport/tasks.js';
import { bootstrapIds } from '../wire/ids.js';
import { DataDirectory, StartError, syncParent } from './data-directory.js';
import { runTask } from './tasks.js';

export interface RestoreOptions {
  /** The snapshot file. */
  readonly file: string;
  /** Must not exist, or be empty. */
  readonly dataDir: string;
  readonly members: readonly { readonly name: string; readonly peerUrls: readonly string[] }[];
  readonly token: string;
  readonly skipHashCheck?: boolean;
  /** Moves the revisions ahead by so much and marks everything before as compacted; default 0. */
  readonly bumpRevision?: number;
  /** Default true. */
  readonly durable?: boolean;
  /** etcd's --quota-backend-bytes of the cluster to come. */
  readonly quotaBackendBytes?: number;
  readonly onProgress?: (progress: RestoreProgress) => void;
}

export type { RestoredSnapshot, RestoreProgress };

/** Rejects with StartError, one line; then there is no data directory. */
export async function restoreSnapshot(options: RestoreOptions): Promise<RestoredSnapshot> {
  const dataDir = resolve(options.dataDir);
  refuseExisting(dataDir);
  const { clusterId, memberIds } = bootstrapIds(
    options.members.map(member => member.peerUrls),
    options.token,
  );
  const members = options.members.map((member, at) => ({ ...member, id: memberIds[at] as bigint }));
  const directory = DataDirectory.open(`${dataDir}.restoring`, { ephemeral: false });
  try {
    for (const name of readdirSync(directory.path)) {
      if (name !== 'lock') rmSync(join(directory.path, name), { recursive: true, force: true });
    }
    const restored = await makeStores(options, directory.path, clusterId, members);
    directory.record({
      clusterId: clusterId.toString(16),
      token: options.token,
      members: members.map(({ id, name, peerUrls }) => ({ id: id.toString(16), name, peerUrls })),
      complete: true,
    });
    publish(directory.path, dataDir);
    return restored;
  } catch (error) {
    rmSync(directory.path, { recursive: true, force: true });
    throw error;
  }
}

async function makeStores(
  options: RestoreOptions,
  directory: string,
  clusterId: bigint,
  members: RestoreTask['members'],
): Promise<RestoredSnapshot> {
  const { port1: progress, port2: port } = new MessageChannel();
  progress.on('message', (message: RestoreProgress) => options.onProgress?.(message));
  try {
    return await runTask('restoreSnapshot', {
      path: options.file,
      directory,
      clusterId,
      members,
      skipHashCheck: options.skipHashCheck ?? false,
      bumpRevision: options.bumpRevision ?? 0,
      durable: options.durable ?? true,
      quotaBackendBytes: options.quotaBackendBytes ?? 0,
      port,
    } satisfies RestoreTask);
  } finally {
    progress.close();
  }
}

/** A directory goes over an empty one, never over another. The lock goes last: nobody takes it over before the rename. */
function publish(from: string, dataDir: string): void {
  try {
    renameSync(from, dataDir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') refuseExisting(dataDir);
    throw new StartError(`cannot rename ${from} to ${dataDir}: ${code}`);
  }
  syncParent(dataDir);
  rmSync(join(dataDir, 'lock'), { force: true });
}

/** Its text is etcd's, and what to do about it. */
function refuseExisting(dataDir: string): void {
  let names: string[] | undefined;
  try {
    names = readdirSync(dataDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
  }
  if (names?.length === 0) return;
  throw new StartError(`data-dir "${dataDir}" not empty or could not be read; a restore makes a new one`);
}
