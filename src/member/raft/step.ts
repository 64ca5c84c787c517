/**
 * Where a message goes. First its term is settled, then the role decides (Raft figure 2, with etcd's rules for terms):
 *
 *     no term      a forwarded request: no claim about terms, straight to the role
 *     higher term  follow it, except that pre-votes and granted pre-vote answers change nothing (I22), and that vote
 *                  requests are ignored while a leader's lease holds
 *     lower term   ignored, except where silence would leave the sender stuck: see answerStale()
 */
import { fail } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { campaign, handleVoteRequest, handleVoteResponse, isLeaseProtected } from './election.js';
import {
  forwardProposals,
  forwardToLeader,
  handleAppend,
  handleHeartbeat,
  handleSnapshot,
  noteLeader,
} from './follower.js';
import { proposeAsLeader } from './membership.js';
import { acceptRead } from './reads.js';
import { handleAppendResponse, handleHeartbeatResponse } from './replication.js';
import { startTransfer } from './transfer.js';
import { type Message, MessageType, NO_MEMBER, Role } from './types.js';

export function step(core: RaftCore, message: Message): void {
  if (message.term > core.term) {
    if (isVoteRequest(message) && isLeaseProtected(core, message)) return;
    if (changesTerm(message)) core.becomeFollower(message.term, isFromLeader(message) ? message.from : NO_MEMBER);
  } else if (message.term !== 0 && message.term < core.term) {
    answerStale(core, message);
    return;
  }
  if (isVoteRequest(message)) {
    handleVoteRequest(core, message);
    return;
  }
  if (isFromLeader(message)) stepFromLeader(core, message);
  else if (core.role === Role.Leader) stepLeader(core, message);
  else if (core.role === Role.Follower) stepFollower(core, message);
  else stepCandidate(core, message);
}

/** The leader of this term speaks: whoever campaigned in it has lost. */
function stepFromLeader(core: RaftCore, message: Message): void {
  if (core.role === Role.Leader) fail('I1: one leader in a term', { term: core.term, other: message.from });
  if (core.role !== Role.Follower) core.becomeFollower(message.term, message.from);
  noteLeader(core, message);
  if (message.type === MessageType.App) handleAppend(core, message);
  else if (message.type === MessageType.Heartbeat) handleHeartbeat(core, message);
  else handleSnapshot(core, message);
}

function stepLeader(core: RaftCore, message: Message): void {
  switch (message.type) {
    case MessageType.Prop:
      proposeAsLeader(core, message.entries);
      return;
    case MessageType.ReadIndex:
      acceptRead(core, message.from, message.context);
      return;
    case MessageType.TransferLeader:
      startTransfer(core, message.from);
      return;
  }
  // The rest are answers, and only members' answers count.
  const progress = core.tracker.get(message.from);
  if (progress === undefined) return;
  if (message.type === MessageType.AppResp) handleAppendResponse(core, progress, message);
  else if (message.type === MessageType.HeartbeatResp) handleHeartbeatResponse(core, progress, message);
}

function stepFollower(core: RaftCore, message: Message): void {
  switch (message.type) {
    case MessageType.Prop:
      if (core.leader !== NO_MEMBER && core.leader !== message.from) forwardProposals(core, message.entries);
      return;
    case MessageType.ReadIndex:
    case MessageType.TransferLeader:
      forwardToLeader(core, message);
      return;
    case MessageType.ReadIndexResp:
      core.readStates.push({ index: message.index, context: message.context });
      return;
    case MessageType.TimeoutNow:
      campaign(core, true);
      return;
  }
}

/** Proposals and reads are dropped: there is no leader to do them. */
function stepCandidate(core: RaftCore, message: Message): void {
  if (message.type === MessageType.VoteResp || message.type === MessageType.PreVoteResp) {
    handleVoteResponse(core, message);
  }
}

/**
 * A message of an older term. Its sender may be a leader that was deposed without noticing, or that cannot depose a
 * member of a higher term whose vote requests everybody ignores (lease) or refuses (pre-vote): an answer with our term
 * ends that. A pre-candidate of an older term has to learn of ours, or it would ask for ever.
 */
function answerStale(core: RaftCore, message: Message): void {
  const { preVote, checkQuorum } = core.options;
  if (message.type === MessageType.App || message.type === MessageType.Heartbeat) {
    if (preVote || checkQuorum) core.outbox.put(core.draft(MessageType.AppResp, message.from));
  } else if (message.type === MessageType.PreVote) {
    const response = core.draft(MessageType.PreVoteResp, message.from);
    response.reject = true;
    core.outbox.put(response);
  }
}

function isVoteRequest(message: Message): boolean {
  return message.type === MessageType.Vote || message.type === MessageType.PreVote;
}

function isFromLeader(message: Message): boolean {
  return (
    message.type === MessageType.App || message.type === MessageType.Heartbeat || message.type === MessageType.Snap
  );
}

function changesTerm(message: Message): boolean {
  if (message.type === MessageType.PreVote) return false;
  return message.type !== MessageType.PreVoteResp || message.reject;
}
