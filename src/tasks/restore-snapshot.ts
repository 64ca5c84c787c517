/**
 * A snapshot file becomes the stores of a new cluster: every member's log and state, as if each had just been sent the
 * whole state by another.
 *
 *     check the digest -> m1: state from the file, its log behind it -> m2, m3 …: a copy of that state, own logs
 *
 *   log    starts behind index N, term 1, with the N members as voters: the founding entries are in the state already
 *   state  the file's records, leases, users, roles and alarms; the new members; applied to index N
 *
 * A log that starts behind its state makes a member refuse a state that was lost, instead of beginning an empty one. The
 * directory is nobody's until whoever asked gives it its name, so a crash here leaves nothing that could be taken for a
 * cluster. Memory: one commit.
 */
import * as path from 'node:path';
import { QUOTA_BYTES_DEFAULT } from '../member/apply/quota.js';
import { RaftLog } from '../member/log/raft-log.js';
import { type BootstrapLog, bootstrapLog } from '../member/membership/bootstrap.js';
import { Members } from '../member/membership/members.js';
import { copyState } from '../member/store/copy-state.js';
import { FORMAT_VERSION, type Stamp } from '../member/store/stamp.js';
import { stateDirectory } from '../member/store/state-directory.js';
import { mapSizeFor, StateStore } from '../member/store/state-store.js';
import { Database } from '../snapshot/bbolt/database.js';
import { SnapshotFile } from '../snapshot/file.js';
import { type TakenState, takeFromEtcd } from '../snapshot/from-etcd.js';
import { SnapshotError } from '../snapshot/schema.js';
import type { RestoredSnapshot, RestoreProgress, RestoreTask, TaskOutcome } from '../transport/tasks.js';
import { messageOf } from './problems.js';

const commitBytesMax = 8 << 20;
const commitOperationsMax = 50_000;
const progressBytes = 4 << 20;

/** Everything is on disk when it resolves. What is wrong with the file, and the disk's failures, are problems. */
export async function restoreSnapshot(task: RestoreTask): Promise<TaskOutcome<RestoredSnapshot>> {
  let file: SnapshotFile | undefined;
  try {
    file = SnapshotFile.open(task.path);
    checkDigest(file, task);
    const taken = await restoreMembers(file, task);
    return { value: { records: taken.records, revision: taken.revision, bytes: file.length } };
  } catch (error) {
    return { problem: messageOf(error, task.path) };
  } finally {
    file?.close();
    task.port.close();
  }
}

/** Its texts are etcd's, as far as they do not print bytes. */
function checkDigest(file: SnapshotFile, { skipHashCheck }: RestoreTask): void {
  if (skipHashCheck) return;
  if (!file.hasDigest) throw new SnapshotError('snapshot missing hash but --skip-hash-check=false');
  file.verifyDigest();
}

async function restoreMembers(file: SnapshotFile, task: RestoreTask): Promise<TakenState> {
  const founding = bootstrapLog(task.members);
  const sizes = { mapSizeBytes: mapSizeBytes(file, task), durable: task.durable };
  let first: { directory: string; taken: TakenState } | undefined;
  for (const { id, name } of task.members) {
    const directory = path.join(task.directory, name);
    const stamp = { clusterId: task.clusterId, memberId: id, formatVersion: FORMAT_VERSION };
    const log = RaftLog.open({ directory, stamp, durable: task.durable });
    try {
      log.bootstrap(founding.entries, founding.hardState, founding.confState);
      const stateGeneration = log.stateGeneration + 1;
      const state = stateDirectory(directory, stateGeneration);
      if (first === undefined) first = { directory: state, taken: await makeState(file, task, founding, state, stamp) };
      else copyState({ from: first.directory, to: state, stamp, ...sizes });
      const index = founding.entries.length;
      const metadata = { index, term: founding.hardState.term, confState: founding.confState };
      log.installSnapshot(metadata, stateGeneration, founding.hardState);
    } finally {
      await log.close();
    }
  }
  return (first as { taken: TakenState }).taken;
}

async function makeState(
  file: SnapshotFile,
  task: RestoreTask,
  founding: BootstrapLog,
  directory: string,
  stamp: Stamp,
): Promise<TakenState> {
  const sizes = { mapSizeBytes: mapSizeBytes(file, task), durable: task.durable };
  const store = StateStore.open({ directory, stamp, ...sizes });
  try {
    const taken = takeInto(store, file, task);
    const members = new Members(store, 0);
    for (const { data } of founding.entries) members.applyConfChange(data);
    store.setApplied(founding.entries.length, founding.hardState.term);
    store.commit();
    return taken;
  } finally {
    await store.close();
  }
}

function takeInto(store: StateStore, file: SnapshotFile, { bumpRevision, port }: RestoreTask): TakenState {
  let doneBytes = 0;
  let toldBytes = 0;
  const progress = (bytes: number): void => {
    doneBytes += bytes;
    if (doneBytes - toldBytes < progressBytes) return;
    toldBytes = doneBytes;
    port.postMessage({ doneBytes, totalBytes: file.length } satisfies RestoreProgress);
  };
  const taking = takeFromEtcd(Database.open(file), store, { keepAlarms: true, bumpRevision, progress });
  for (;;) {
    const step = taking.next();
    if (step.done === true) return step.value;
    if (store.pendingBytes >= commitBytesMax || store.pendingOperations >= commitOperationsMax) store.commit();
  }
}

/** A file may be larger than the quota of the cluster it becomes. */
function mapSizeBytes(file: SnapshotFile, { quotaBackendBytes }: RestoreTask): number {
  return mapSizeFor(Math.max(quotaBackendBytes > 0 ? quotaBackendBytes : QUOTA_BYTES_DEFAULT, file.length));
}
