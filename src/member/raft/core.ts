/**
 * The state of one Raft member, and its changes of role.
 *
 *                  timeout            quorum of pre-votes        quorum of votes
 *     Follower --------------> PreCandidate ---------> Candidate ---------> Leader
 *        ^                          |                      |                   |
 *        +--------------------------+----------------------+-------------------+
 *          a higher term, a leader of this term, a lost vote, or a lost quorum (leader)
 *
 * The state is one object that the topic modules work on: election, replication, reads, membership, follower. They hold
 * no state of their own. This file knows what a role change resets and nothing about messages.
 */
import { assert } from '../../base/assert.js';
import { type Draft, draftMessage, Outbox } from './outbox.js';
import { LogView } from './raft-log.js';
import { ReadIndexQueue } from './read-index.js';
import { Tracker } from './tracker.js';
import {
  type HardState,
  type MemberId,
  MessageType,
  NO_MEMBER,
  type RaftOptions,
  type ReadState,
  Role,
} from './types.js';

/** A read kept until the leader's first commit of its own term. */
export interface HeldRead {
  readonly from: MemberId;
  readonly context: number;
}

export class RaftCore {
  readonly id: MemberId;
  readonly options: RaftOptions;
  readonly log: LogView;
  readonly tracker: Tracker;
  readonly outbox = new Outbox();
  readonly reads = new ReadIndexQueue();
  readStates: ReadState[] = [];

  term: number;
  vote: MemberId;
  leader: MemberId = NO_MEMBER;
  role: Role = Role.Follower;
  /** What is on disk, as far as term and vote go: moved by advance(). */
  persisted: HardState;

  electionElapsedTicks = 0;
  heartbeatElapsedTicks = 0;
  randomizedElectionTicks = 0;

  /** Candidates: the answers so far. A candidate's own vote is missing until it is on disk (I9). */
  readonly votes = new Map<MemberId, boolean>();
  ownVotePending = false;
  /** Candidates: the old leader asked for this election. */
  campaignTransfer = false;

  /** Leader: the index of its first entry; only from there on it commits by counting (§5.4.2, I7). */
  termStartIndex = 0;
  /** Leader: a conf change up to here may be unapplied (I11). */
  pendingConfIndex = 0;
  /** Leader: data bytes of its term's entries that are not applied (I21). */
  uncommittedBytes = 0;
  leadTransferee: MemberId = NO_MEMBER;
  heldReads: HeldRead[] = [];
  /** What is due to the others: MsgApps, heartbeats, vote requests. Each is made once per batch, when it ends. */
  replicationDue = false;
  heartbeatDue = false;
  voteRequestDue = false;

  constructor(options: RaftOptions) {
    checkOptions(options);
    const { storage, appliedIndex } = options;
    const { hardState, confState } = storage.initialState();
    // What is applied was committed; only the commit index on disk may lag, for it is written without a sync.
    const committed = Math.max(hardState.commit, appliedIndex);
    this.id = options.id;
    this.options = options;
    this.log = new LogView(storage, committed, appliedIndex);
    this.tracker = new Tracker(options.inflightMessagesMax, options.inflightBytesMax ?? Infinity);
    this.tracker.switchTo(options.confState ?? confState, this.log.lastIndex());
    // A crash right after a snapshot was installed can leave a log of a newer term than the hard state. In that term
    // this member has not voted, or the hard state would know the term.
    const newerTerm = this.log.lastTerm() > hardState.term;
    this.term = newerTerm ? this.log.lastTerm() : hardState.term;
    this.vote = newerTerm ? NO_MEMBER : hardState.vote;
    this.persisted = hardState;
    this.#drawElectionTicks();
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  /** Starts a message of the current term; forwarded requests carry none (I20). */
  draft(type: MessageType, to: MemberId): Draft {
    const termless = type === MessageType.Prop || type === MessageType.ReadIndex;
    return draftMessage(type, this.id, to, termless ? 0 : this.term);
  }

  /** Whether this member may become leader: a voter whose log is usable. */
  isPromotable(): boolean {
    const self = this.tracker.get(this.id);
    return self !== undefined && !self.isLearner && this.log.pendingSnapshot() === undefined;
  }

  becomeFollower(term: number, leader: MemberId): void {
    assert(term >= this.term, 'I8: terms never go back', { term, own: this.term });
    this.#reset(term);
    this.leader = leader;
    this.role = Role.Follower;
  }

  /** Asks whether an election could be won, without disturbing anybody: term and vote stay (I22). */
  becomePreCandidate(): void {
    assert(this.role !== Role.Leader, 'a leader does not campaign');
    this.votes.clear();
    this.ownVotePending = false;
    this.campaignTransfer = false;
    this.leader = NO_MEMBER;
    this.role = Role.PreCandidate;
  }

  becomeCandidate(campaignTransfer: boolean): void {
    assert(this.role !== Role.Leader, 'a leader does not campaign');
    this.#reset(this.term + 1);
    this.campaignTransfer = campaignTransfer;
    this.vote = this.id;
    this.ownVotePending = true;
    this.role = Role.Candidate;
  }

  /** The caller appends the term's first entry right after. */
  becomeLeader(): void {
    assert(this.role === Role.Candidate, 'only a candidate becomes leader', { role: this.role });
    assert(this.persisted.term === this.term && this.persisted.vote === this.id, 'I9: leads a term voted for on disk');
    this.#reset(this.term);
    this.role = Role.Leader;
    this.leader = this.id;
    this.termStartIndex = this.log.lastIndex() + 1;
    // Whatever conf change the log may hold has to be applied before the next one is accepted (I11), and so has the first
    // entry of the own term (I12).
    this.pendingConfIndex = this.termStartIndex;
    const self = this.tracker.get(this.id);
    if (self !== undefined) self.recentActive = true;
  }

  pastElectionTimeout(): boolean {
    return this.electionElapsedTicks >= this.randomizedElectionTicks;
  }

  #reset(term: number): void {
    if (term !== this.term) {
      this.term = term;
      this.vote = NO_MEMBER;
      this.outbox.dropAppendAnswers();
    }
    this.leader = NO_MEMBER;
    this.electionElapsedTicks = 0;
    this.heartbeatElapsedTicks = 0;
    this.#drawElectionTicks();
    this.votes.clear();
    this.ownVotePending = false;
    this.campaignTransfer = false;
    this.termStartIndex = 0;
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.leadTransferee = NO_MEMBER;
    this.reads.clear();
    this.heldReads = [];
    this.replicationDue = false;
    this.heartbeatDue = false;
    this.voteRequestDue = false;
    for (const progress of this.tracker.members) {
      // What this member knows of its own log is what is on disk (I6).
      const match = progress.id === this.id ? this.log.stableIndex() : 0;
      progress.reset(match, this.log.lastIndex() + 1);
    }
  }

  #drawElectionTicks(): void {
    const { electionTicks, prng } = this.options;
    this.randomizedElectionTicks = electionTicks + prng.nextBelow(electionTicks);
  }
}

/** The data of a no-op. */
export const NO_DATA = new Uint8Array(0);

function checkOptions(options: RaftOptions): void {
  const { id, electionTicks, heartbeatTicks, messageBytesMax, uncommittedBytesMax } = options;
  assert(id !== NO_MEMBER, 'a member has an id');
  assert(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'an election timeout spans several heartbeats', {
    electionTicks,
    heartbeatTicks,
  });
  assert(messageBytesMax > 0 && uncommittedBytesMax > 0, 'byte limits are positive');
}
