/**
 * Elections: campaigning, voting, counting.
 *
 * Timeouts are drawn anew at every role change. With preVote a member first asks whether it could win, which changes
 * no term and no vote anywhere (thesis §9.6, I22). With checkQuorum members that heard of a leader within the last
 * election timeout do not answer vote requests, so that a member cut off and back again deposes nobody (§6.4's lease
 * seen from the voters); a leader's own transfer is exempt.
 *
 * Requests are repeated every heartbeat interval to voters that have not answered: voting twice for the same
 * candidate is one vote, and the first election of a new cluster does not wait a timeout for a member that booted a
 * little later.
 */
import { assert } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { NO_DATA } from './core.js';
import { hasUnappliedConfChange } from './membership.js';
import { appendAsLeader } from './replication.js';
import { EntryType, type MemberId, type Message, MessageType, NO_MEMBER, Role } from './types.js';

/** Starts an election, unless this member may not or need not. `transfer`: on behalf of the old leader, no pre-vote. */
export function campaign(core: RaftCore, transfer: boolean): void {
  if (core.role === Role.Leader || !core.isPromotable() || hasUnappliedConfChange(core)) return;
  if (core.options.preVote && !transfer) {
    core.becomePreCandidate();
    core.votes.set(core.id, true);
    if (core.tracker.voteResult(core.votes) === 'won') startElection(core, false);
    else core.voteRequestDue = true;
    return;
  }
  startElection(core, transfer);
}

/** A tick while no leader: time out, or repeat the question. */
export function tickElection(core: RaftCore): void {
  core.electionElapsedTicks++;
  if (core.isPromotable() && core.pastElectionTimeout()) {
    core.electionElapsedTicks = 0;
    campaign(core, false);
    return;
  }
  if (core.role !== Role.PreCandidate && core.role !== Role.Candidate) return;
  if (core.electionElapsedTicks % core.options.heartbeatTicks === 0) core.voteRequestDue = true;
}

/** Whether a vote request must be ignored because a leader is believed to be alive (I22). */
export function isLeaseProtected(core: RaftCore, message: Message): boolean {
  if (message.campaignTransfer || !core.options.checkQuorum) return false;
  return core.leader !== NO_MEMBER && core.electionElapsedTicks < core.options.electionTicks;
}

/** Answers a Vote or PreVote of a term that is at least ours. */
export function handleVoteRequest(core: RaftCore, message: Message): void {
  const preVote = message.type === MessageType.PreVote;
  const free = core.vote === NO_MEMBER && core.leader === NO_MEMBER;
  const mayVote = core.vote === message.from || free || (preVote && message.term > core.term);
  const granted = mayVote && core.log.isUpToDate(message.index, message.logTerm);
  const response = core.draft(preVote ? MessageType.PreVoteResp : MessageType.VoteResp, message.from);
  // A granted pre-vote speaks of the term asked for, a refusal of our own: the asker may be behind.
  response.term = granted ? message.term : core.term;
  response.reject = !granted;
  core.outbox.put(response);
  if (!granted || preVote) return;
  assert(message.term === core.term, 'I9: a vote is cast in the own term', { term: message.term, own: core.term });
  core.vote = message.from;
  core.electionElapsedTicks = 0;
}

/** Counts an answer to the question that is being asked; others are late ones and say nothing. */
export function handleVoteResponse(core: RaftCore, message: Message): void {
  const preVote = message.type === MessageType.PreVoteResp;
  if (preVote !== (core.role === Role.PreCandidate)) return;
  if (preVote && !message.reject && message.term !== core.term + 1) return;
  countVote(core, message.from, !message.reject);
}

/** Asks the voters that have not answered yet. */
export function flushVoteRequests(core: RaftCore): void {
  if (!core.voteRequestDue) return;
  core.voteRequestDue = false;
  const preVote = core.role === Role.PreCandidate;
  const lastTerm = core.log.lastTerm();
  for (const { id } of core.tracker.voters) {
    if (id === core.id || core.votes.has(id)) continue;
    const message = core.draft(preVote ? MessageType.PreVote : MessageType.Vote, id);
    message.term = preVote ? core.term + 1 : core.term;
    message.index = core.log.lastIndex();
    message.logTerm = lastTerm;
    message.campaignTransfer = core.campaignTransfer;
    core.outbox.put(message);
  }
}

/** The candidate's vote for itself is on disk and counts (I9). */
export function countOwnVote(core: RaftCore): void {
  if (core.role !== Role.Candidate || !core.ownVotePending) return;
  if (core.persisted.term !== core.term || core.persisted.vote !== core.id) return;
  core.ownVotePending = false;
  countVote(core, core.id, true);
}

function startElection(core: RaftCore, transfer: boolean): void {
  core.becomeCandidate(transfer);
  core.voteRequestDue = true;
}

function countVote(core: RaftCore, from: MemberId, granted: boolean): void {
  // The first answer counts: a member that voted does not change its mind within a term.
  if (!core.votes.has(from)) core.votes.set(from, granted);
  const result = core.tracker.voteResult(core.votes);
  if (result === 'lost') core.becomeFollower(core.term, NO_MEMBER);
  if (result !== 'won') return;
  if (core.role === Role.PreCandidate) startElection(core, false);
  else lead(core);
}

/** The first entry of the term is empty: committing it commits everything before (§5.4.2, §6.4). */
function lead(core: RaftCore): void {
  core.becomeLeader();
  const appended = appendAsLeader(core, [{ type: EntryType.Normal, data: NO_DATA }]);
  assert(appended, 'I21: an entry without data always fits');
}
