/**
 * Opening a member: log, state, indexes and Raft core, in the order that crash recovery needs.
 *
 *     log (stamp checked) -> bootstrap if new -> state of the log's generation -> reconcile -> members, store -> Raft
 *
 * The state may lag behind the log: Raft hands out what is committed beyond the applied index again, and apply is
 * deterministic. It never runs ahead of the log's promises: reconcile raises the commit index to what was applied.
 */
import { rmSync } from 'node:fs';
import { Prng } from '../base/prng.js';
import type { MemberBoot, MemberIdentity } from '../transport/control.js';
import { Histogram, MetricCells, Scalar } from '../transport/metric-cells.js';
import { type Applier, createApplier } from './apply/applier.js';
import { QUOTA_BYTES_DEFAULT } from './apply/quota.js';
import { RaftLog } from './log/raft-log.js';
import { bootstrapLog } from './membership/bootstrap.js';
import { Members } from './membership/members.js';
import { Raft } from './raft/raft.js';
import type { SnapshotMetadata } from './raft/types.js';
import { rare } from './rare.js';
import type { Defragmenter } from './store/defragmenter.js';
import { FORMAT_VERSION, inspectStamp, type Stamp } from './store/stamp.js';
import { stateDirectory } from './store/state-directory.js';
import { mapSizeFor, StateStore } from './store/state-store.js';
import { StorageError, StorageErrorKind } from './store/storage-error.js';
import type { StateExporter } from './transfer/exporter.js';
import type { StateImporter } from './transfer/importer.js';
import { weightPerTurn } from './turn-limits.js';

/** Messages on their way to one peer (etcd's setting), and their weight: well below what the ring to it holds. */
const inflightMessagesMax = 512;
const inflightBytesMax = 4 * 1024 * 1024;

/** Entries a leader has not committed yet; above this clients wait. Bounds memory, not correctness. */
const uncommittedBytesMax = 64 * 1024 * 1024;

export interface OpenMember {
  readonly boot: MemberBoot;
  readonly cells: MetricCells;
  readonly identity: MemberIdentity;
  readonly stamp: Stamp;
  readonly log: RaftLog;
  /** True when this start founded the member's log. */
  readonly founded: boolean;
  readonly raft: Raft;
  /** The newest state generation that was begun, current or not: every new one gets a directory of its own. */
  newestGeneration: number;
  /** The replicated state and what is built on it; replaced as a whole by an installed snapshot. */
  state: OpenState;
}

/** One generation of the state: the store on disk and everything in memory that was read from it. */
export interface OpenState {
  readonly store: StateStore;
  readonly members: Members;
  readonly applier: Applier;
}

/** Opens or founds the member's stores. Throws StorageError with a text for the operator. */
export function openMember(boot: MemberBoot): OpenMember {
  const { identity, founding } = boot;
  const stamp = { clusterId: boot.clusterId, memberId: identity.id, formatVersion: FORMAT_VERSION };
  if (!boot.mayFound && inspectStamp(boot.directory) === undefined) throw lostData(boot, identity);
  const cells = new MetricCells(boot.metrics);
  const wrote = (bytes: number, writeMs: number, syncMs: number): void => {
    cells.add(Scalar.walWriteBytes, bytes);
    cells.observe(Histogram.walWrite, writeMs / 1_000);
    cells.observe(Histogram.walFsync, syncMs / 1_000);
    cells.observe(Histogram.walFsyncFine, syncMs / 1_000);
  };
  const log = RaftLog.open({ directory: boot.directory, stamp, durable: boot.settings.durable, wrote });
  // One that joins starts with nothing: the leader sends it the log or the state, its own addition among it.
  const founded = !log.bootstrapped && founding.length > 0;
  if (founded) {
    const { entries, hardState, confState } = bootstrapLog(founding);
    log.bootstrap(entries, hardState, confState);
  }
  const state = openState(boot, stamp, log, cells);
  const confState = log.reconcile(state.store.appliedIndex, state.store.appliedTerm);
  const { electionTimeoutMs, heartbeatIntervalMs } = boot.settings;
  const raft = new Raft({
    id: identity.id,
    storage: log,
    electionTicks: Math.ceil(electionTimeoutMs / heartbeatIntervalMs),
    heartbeatTicks: 1,
    preVote: true,
    checkQuorum: true,
    messageBytesMax: weightPerTurn,
    committedBytesMax: weightPerTurn,
    inflightMessagesMax,
    inflightBytesMax,
    uncommittedBytesMax,
    appliedIndex: state.store.appliedIndex,
    confState,
    prng: new Prng(boot.seed),
  });
  return { boot, cells, identity, stamp, log, founded, raft, newestGeneration: log.stateGeneration, state };
}

/** A snapshot was installed: opens the state the log names now, closes the former one and removes it. */
export function replaceState(open: OpenMember, formerGeneration: number): void {
  const former = open.state.store;
  open.state = openState(open.boot, open.stamp, open.log, open.cells);
  const directory = stateDirectory(open.boot.directory, formerGeneration);
  void former.close().then(() => rmSync(directory, { recursive: true, force: true }));
}

function openState(boot: MemberBoot, stamp: Stamp, log: RaftLog, cells: MetricCells): OpenState {
  const store = StateStore.open({
    directory: stateDirectory(boot.directory, log.stateGeneration),
    stamp,
    mapSizeBytes: mapSizeBytes(boot),
    durable: boot.settings.durable,
    committed: (deleteMs, putMs, commitMs) => {
      cells.observe(Histogram.backendCommitRebalance, deleteMs / 1_000);
      cells.observe(Histogram.backendCommitSpill, putMs / 1_000);
      cells.observe(Histogram.backendCommitWrite, commitMs / 1_000);
      cells.observe(Histogram.backendCommit, (deleteMs + putMs + commitMs) / 1_000);
    },
  });
  const members = new Members(store, learnersMax);
  return { store, members, applier: createApplier(boot, store, members, cells) };
}

/** A receiver for the state of another member: it becomes current when the log installs its generation. */
export function createImporter(open: OpenMember): StateImporter {
  return new (rare.importer().StateImporter)({
    directory: open.boot.directory,
    generation: ++open.newestGeneration,
    stamp: open.stamp,
    mapSizeBytes: mapSizeBytes(open.boot),
    durable: open.boot.settings.durable,
  });
}

/** Writes the state anew, into a generation of its own. The store must have nothing uncommitted. */
export function defragmenterOf(open: OpenMember): Defragmenter {
  return new (rare.defragmenter().Defragmenter)(open.state.store, {
    directory: open.boot.directory,
    generation: ++open.newestGeneration,
    stamp: open.stamp,
    mapSizeBytes: mapSizeBytes(open.boot),
    durable: open.boot.settings.durable,
  });
}

/** The state as of now, for another member, and what it covers. Commits first. */
export function exportState(open: OpenMember): { exporter: StateExporter; metadata: SnapshotMetadata } {
  const exporter = rare.exporter().StateExporter.start(open.state.store);
  return { exporter, metadata: open.log.metadataAt(exporter.appliedIndex) };
}

/** A member that forgot its log may have voted and acknowledged: under its old id it would break promises. */
function lostData(boot: MemberBoot, identity: MemberIdentity): StorageError {
  return new StorageError(
    StorageErrorKind.Inconsistent,
    `the data of member ${identity.name} is gone from ${boot.directory}, and it must not start empty under its old id; ` +
      'put its directory back, or choose another --data-dir',
  );
}

/** etcd's --max-learners. */
const learnersMax = 1;

function mapSizeBytes(boot: MemberBoot): number {
  const quota = boot.settings.quotaBackendBytes;
  return mapSizeFor(quota > 0 ? quota : QUOTA_BYTES_DEFAULT);
}
