/**
 * A member that follows: it takes the leader's log, commit index and snapshots, and passes requests on to the leader.
 */
import { assert } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { type Message, MessageType, NO_MEMBER, type Proposal, type SnapshotMetadata } from './types.js';

/** A message that only the leader of this term sends. Two of them in one term would be the end (I1). */
export function noteLeader(core: RaftCore, message: Message): void {
  assert(core.leader === NO_MEMBER || core.leader === message.from, 'I1: one leader in a term', {
    term: core.term,
    leader: core.leader,
    other: message.from,
  });
  core.leader = message.from;
  core.electionElapsedTicks = 0;
}

export function handleAppend(core: RaftCore, message: Message): void {
  const { log } = core;
  const response = core.draft(MessageType.AppResp, message.from);
  if (message.index < log.committed) {
    // An old one: what is committed here is in the leader's log too.
    response.index = log.committed;
    core.outbox.put(response);
    return;
  }
  const matched = log.maybeAppend(message.index, message.logTerm, message.entries);
  if (matched !== undefined) {
    log.commitTo(Math.min(message.commit, matched));
    response.index = matched;
    core.outbox.put(response);
    return;
  }
  // Skip our entries of terms above the leader's there: they cannot match. The leader does the same with our answer.
  const hint = log.findConflictByTerm(Math.min(message.index, log.lastIndex()), message.logTerm);
  response.reject = true;
  response.index = message.index;
  response.rejectHint = hint.index;
  response.logTerm = hint.term ?? 0;
  core.outbox.put(response);
}

export function handleHeartbeat(core: RaftCore, message: Message): void {
  core.log.commitTo(message.commit);
  const response = core.draft(MessageType.HeartbeatResp, message.from);
  response.context = message.context;
  core.outbox.put(response);
}

/** The state is here; whether it is of use is decided now. If so, Ready.snapshot asks for its installation. */
export function handleSnapshot(core: RaftCore, message: Message): void {
  const { snapshot } = message;
  assert(snapshot !== undefined, 'a MsgSnap carries a snapshot');
  const installed = restoreSnapshot(core, snapshot);
  const response = core.draft(MessageType.AppResp, message.from);
  response.index = installed ? core.log.lastIndex() : core.log.committed;
  core.outbox.put(response);
}

/** Passes proposals to the leader as they are; they get their place in the log there. */
export function forwardProposals(core: RaftCore, proposals: readonly Proposal[]): void {
  const message = core.draft(MessageType.Prop, core.leader);
  message.entries = proposals.map(({ type, data }) => ({ type, term: 0, index: 0, data }));
  core.outbox.put(message);
}

/**
 * Passes a request on unchanged: the answer goes to who asked first. One that came from the leader itself is dropped.
 */
export function forwardToLeader(core: RaftCore, message: Message): void {
  if (core.leader === NO_MEMBER || core.leader === message.from) return;
  core.outbox.put({ ...message, to: core.leader });
}

/**
 * Whether the snapshot took the log's place. Its configuration need not name this member: it may be from before this
 * member joined (the change that adds it follows in the log), or tell it that it was removed.
 */
function restoreSnapshot(core: RaftCore, snapshot: SnapshotMetadata): boolean {
  const { log } = core;
  if (snapshot.index <= log.committed) return false;
  if (log.matches(snapshot.index, snapshot.term)) {
    log.commitTo(snapshot.index);
    return false;
  }
  log.restore(snapshot);
  core.tracker.switchTo(snapshot.confState, log.lastIndex());
  return true;
}
