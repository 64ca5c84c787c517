/**
 * The leader's side of replication: appending, sending, counting acks.
 *
 * Nothing is sent while messages are stepped: they only mark what is due, and flush() sends it once per batch. So a
 * thousand proposals and a dozen acks that arrived together cost each follower one MsgApp, with entries and commit
 * index.
 */
import { assert } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { type Progress, ProgressState } from './progress.js';
import { NO_ENTRIES } from './raft-log.js';
import { confirmReads, releaseHeldReads } from './reads.js';
import { transferWhenCaughtUp } from './transfer.js';
import { type Entry, type Message, MessageType, type Proposal, type SnapshotMetadata, weigh } from './types.js';

/**
 * Appends to the leader's own log. False when the uncommitted entries would weigh more than allowed: the first entry
 * that crosses an empty account always fits, and entries without data (a new leader's, a leave) always do.
 */
export function appendAsLeader(core: RaftCore, proposals: readonly Proposal[]): boolean {
  let bytes = 0;
  for (let i = 0; i < proposals.length; i++) bytes += proposals[i]!.data.length;
  const total = core.uncommittedBytes + bytes;
  if (core.uncommittedBytes > 0 && bytes > 0 && total > core.options.uncommittedBytesMax) return false;
  core.uncommittedBytes = total;
  const first = core.log.lastIndex() + 1;
  const entries = new Array<Entry>(proposals.length);
  for (let i = 0; i < proposals.length; i++) {
    const { type, data } = proposals[i]!;
    entries[i] = { type, term: core.term, index: first + i, data };
  }
  core.log.append(entries);
  core.replicationDue = true;
  return true;
}

/** Entries of the leader's own term were applied: they no longer weigh (I21). */
export function settleUncommitted(core: RaftCore, applied: readonly Entry[]): void {
  let bytes = 0;
  for (let i = 0; i < applied.length; i++) {
    const entry = applied[i]!;
    if (entry.term === core.term) bytes += entry.data.length;
  }
  assert(bytes <= core.uncommittedBytes, 'I21: what is applied was counted', { bytes, counted: core.uncommittedBytes });
  core.uncommittedBytes -= bytes;
}

/** Commits what a quorum has on disk, if it is of this term (§5.4.2, I7). True when the commit index moved. */
export function maybeCommit(core: RaftCore): boolean {
  const index = core.tracker.durableIndex();
  if (index < core.termStartIndex || !core.log.commitTo(index)) return false;
  core.replicationDue = true;
  releaseHeldReads(core);
  return true;
}

/** Sends what stepping has made due. */
export function flushReplication(core: RaftCore): void {
  if (!core.replicationDue) return;
  core.replicationDue = false;
  for (const progress of core.tracker.members) {
    if (progress.id === core.id) continue;
    const news = progress.state === ProgressState.Replicate && progress.canBumpCommit(core.log.committed);
    const sendIfEmpty = progress.appendDue || news;
    progress.appendDue = false;
    let sent = maybeSendAppend(core, progress, sendIfEmpty);
    while (sent) sent = maybeSendAppend(core, progress, false);
  }
}

/** Heartbeats to everybody, with the position of the newest waiting read: a lost one is repeated by the next tick's. */
export function flushHeartbeats(core: RaftCore): void {
  if (!core.heartbeatDue) return;
  core.heartbeatDue = false;
  const context = core.reads.newestPosition();
  for (const progress of core.tracker.members) {
    if (progress.id === core.id) continue;
    const message = core.draft(MessageType.Heartbeat, progress.id);
    // Never beyond its match: the rest of its log may not be ours.
    message.commit = Math.min(progress.match, core.log.committed);
    message.context = context;
    core.outbox.put(message);
    progress.sentCommitUpTo(message.commit);
  }
}

export function handleAppendResponse(core: RaftCore, progress: Progress, message: Message): void {
  progress.recentActive = true;
  if (message.reject) handleRejection(core, progress, message);
  else handleAcceptance(core, progress, message.index);
}

export function handleHeartbeatResponse(core: RaftCore, progress: Progress, message: Message): void {
  progress.recentActive = true;
  progress.paused = false;
  // It lives. If it may miss something, ask: MsgApps (or their answers) may have been lost, or inflights be stuck.
  if (progress.match < core.log.lastIndex() || progress.state === ProgressState.Probe) {
    progress.appendDue = true;
    core.replicationDue = true;
  }
  // It was told to campaign and has not: the message was lost, or came before it had applied a conf change.
  if (core.leadTransferee === progress.id) transferWhenCaughtUp(core, progress);
  assert(message.context <= core.reads.lastPosition, 'I16: nobody echoes a position that was never made', {
    position: message.context,
  });
  if (message.context > progress.readPosition) {
    progress.readPosition = message.context;
    confirmReads(core);
  }
}

/** Messages to this member were lost: stop pipelining, find out where it stands. */
export function handleUnreachable(progress: Progress): void {
  if (progress.state === ProgressState.Replicate) progress.becomeProbe();
}

/** The snapshot was delivered, or was not: either way probe, but wait for a sign of life first. */
export function handleSnapshotReport(progress: Progress, ok: boolean): void {
  if (progress.state !== ProgressState.Snapshot) return;
  if (!ok) {
    progress.abortSnapshot();
    return;
  }
  progress.becomeProbe();
  progress.paused = true;
}

function handleAcceptance(core: RaftCore, progress: Progress, index: number): void {
  const { log } = core;
  assert(index <= log.lastIndex(), 'I4: nobody acks in our term what we do not have', { id: progress.id, index });
  const moved = progress.maybeUpdate(index);
  const found = progress.state === ProgressState.Probe && progress.match === index;
  if (!moved && !found) return;
  if (progress.state === ProgressState.Probe) {
    progress.becomeReplicate();
  } else if (progress.state === ProgressState.Replicate) {
    progress.inflights.freeUpTo(index);
    progress.paused = progress.inflights.full;
  } else if (progress.match + 1 >= log.firstIndex()) {
    // I18: whatever snapshot it got, from here our log takes it on.
    progress.becomeReplicate();
  }
  core.replicationDue = true;
  maybeCommit(core);
  if (core.leadTransferee === progress.id) transferWhenCaughtUp(core, progress);
}

function handleRejection(core: RaftCore, progress: Progress, message: Message): void {
  // Skip all of our entries of terms above the one it has at its hint: they cannot match (§5.3, a term per round trip).
  let hint = message.rejectHint;
  if (message.logTerm > 0) hint = core.log.findConflictByTerm(hint, message.logTerm).index;
  if (!progress.maybeDecrease(message.index, hint)) return;
  if (progress.state === ProgressState.Replicate) progress.becomeProbe();
  progress.appendDue = true;
  core.replicationDue = true;
}

/** One MsgApp, or a snapshot where the log does not reach back far enough (I19). False when there is none to send. */
function maybeSendAppend(core: RaftCore, progress: Progress, sendIfEmpty: boolean): boolean {
  if (progress.state === ProgressState.Snapshot) return false;
  const { log } = core;
  const last = log.lastIndex();
  const replicating = progress.state === ProgressState.Replicate;
  // Full inflights stop entries, not the question or the commit index that an empty MsgApp brings.
  if (progress.paused && !(replicating && sendIfEmpty)) return false;
  const hasEntries = progress.next <= last && !(replicating && progress.inflights.full);
  if (!hasEntries && !sendIfEmpty) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = log.term(prevIndex);
  if (prevTerm === undefined) return maybeSendSnapshot(core, progress);
  const entries = hasEntries ? log.entries(progress.next, last + 1, core.options.messageBytesMax) : NO_ENTRIES;
  const message = core.draft(MessageType.App, progress.id);
  message.index = prevIndex;
  message.logTerm = prevTerm;
  message.entries = entries;
  message.commit = log.committed;
  core.outbox.put(message);
  progress.sentEntries(entries.length, weigh(entries));
  progress.sentCommitUpTo(log.committed);
  return true;
}

function maybeSendSnapshot(core: RaftCore, progress: Progress): boolean {
  if (!progress.recentActive) return false;
  const snapshot: SnapshotMetadata = core.log.storage.snapshotMetadata();
  assert(snapshot.index >= core.log.firstIndex() - 1, 'I19: the snapshot joins the log', {
    snapshot: snapshot.index,
    first: core.log.firstIndex(),
  });
  progress.becomeSnapshot(snapshot.index);
  const message = core.draft(MessageType.Snap, progress.id);
  message.snapshot = snapshot;
  core.outbox.put(message);
  return true;
}

/** The leader's own log is on disk up to here: its ack counts like any other's (I6). */
export function ackOwnLog(core: RaftCore): void {
  const self = core.tracker.get(core.id);
  if (self?.maybeUpdate(core.log.stableIndex())) maybeCommit(core);
}
