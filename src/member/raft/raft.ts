/**
 * The Raft core of one member: messages, ticks and proposals go in, Ready comes out (the loop is drawn in types.ts).
 *
 *     step, tick, propose, ...   ->   state (core.ts)   ->   hasReady / ready / advance
 *
 * Pure: no clock, no I/O, no chance but the injected one. The same calls give the same Ready, always (I24).
 *
 * A new cluster starts with its conf changes 1..N in every member's log, committed (bootstrap). One member calls
 * campaign() at once: with preVote that costs one more round trip through memory and is the same safe path as always.
 */
import { assert } from '../../base/assert.js';
import { RaftCore } from './core.js';
import { campaign, countOwnVote, flushVoteRequests, tickElection } from './election.js';
import { forwardProposals } from './follower.js';
import { Invariants } from './invariants.js';
import { tickLeader } from './leader-tick.js';
import { applyConfChange, maybeLeaveJoint, proposeAsLeader } from './membership.js';
import { acceptRead } from './reads.js';
import {
  ackOwnLog,
  flushHeartbeats,
  flushReplication,
  handleSnapshotReport,
  handleUnreachable,
  settleUncommitted,
} from './replication.js';
import { type RaftStatus, readStatus } from './status.js';
import { step } from './step.js';
import { startTransfer } from './transfer.js';
import {
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type MemberId,
  type Message,
  MessageType,
  NO_MEMBER,
  type Proposal,
  type ProposalResult,
  type RaftOptions,
  type ReadState,
  type Ready,
  Role,
  type SoftState,
} from './types.js';

export class Raft {
  readonly #core: RaftCore;
  readonly #invariants: Invariants;
  /** What the last Ready said, to tell what is new. */
  #softState: SoftState;
  #hardState: HardState;
  /** A Ready is out and not advanced over. */
  #outstanding: Ready | undefined = undefined;

  constructor(options: RaftOptions) {
    this.#core = new RaftCore(options);
    this.#invariants = new Invariants(this.#core);
    this.#softState = { leader: NO_MEMBER, role: Role.Follower };
    this.#hardState = this.#core.persisted;
  }

  get id(): MemberId {
    return this.#core.id;
  }

  get term(): number {
    return this.#core.term;
  }

  /** The leader of the current term as far as known; 0n = none. */
  get leader(): MemberId {
    return this.#core.leader;
  }

  get role(): Role {
    return this.#core.role;
  }

  get isLeader(): boolean {
    return this.#core.role === Role.Leader;
  }

  get committedIndex(): number {
    return this.#core.log.committed;
  }

  get appliedIndex(): number {
    return this.#core.log.applied;
  }

  /** The configuration in force: that of the last applied conf change or installed snapshot. */
  get confState(): ConfState {
    return this.#core.tracker.config;
  }

  /** On a leader: a configuration change may be under way, and another one would come to nothing (I11). */
  get confChangePending(): boolean {
    return this.#core.pendingConfIndex > this.#core.log.applied;
  }

  /** Everything worth showing, as plain data. Made anew at each call. */
  get status(): RaftStatus {
    return readStatus(this.#core);
  }

  /** One unit of time passed. */
  tick(): void {
    this.#assertBetweenReadies();
    if (this.#core.role === Role.Leader) tickLeader(this.#core);
    else tickElection(this.#core);
  }

  /** A message from another member arrived. Stale and foreign ones are ignored; impossible ones are assertions. */
  step(message: Message): void {
    this.#assertBetweenReadies();
    step(this.#core, message);
  }

  /** Campaigns now instead of after a timeout: the first member of a new cluster does. Nothing happens on a leader. */
  campaign(): void {
    this.#assertBetweenReadies();
    this.#core.electionElapsedTicks = 0;
    campaign(this.#core, false);
  }

  /**
   * Proposes entries, all or none. A conf change that is not allowed now becomes an empty entry in its place. Dropped
   * without a leader, while a transfer is under way, beyond uncommittedBytesMax, and on a leader that was removed.
   */
  propose(proposals: readonly Proposal[]): ProposalResult {
    const core = this.#core;
    assert(proposals.length > 0, 'a proposal has entries');
    if (core.role === Role.Leader) return proposeAsLeader(core, proposals) ? 'accepted' : 'dropped';
    if (core.role !== Role.Follower || core.leader === NO_MEMBER) return 'dropped';
    forwardProposals(core, proposals);
    return 'forwarded';
  }

  /**
   * Asks for a linearizable read. When confirmed, Ready.readStates has {index, context}: serve once index is applied.
   * An answer may never come (lost message, new leader): ask again with a NEW context, never with an old one, not even
   * one of before a restart: the leader may still answer what the former incarnation asked, with an older index.
   */
  readIndex(context: number): ProposalResult {
    const core = this.#core;
    assert(Number.isSafeInteger(context) && context > 0, 'a read context is a positive safe integer', { context });
    if (core.role === Role.Leader) return acceptRead(core, core.id, context) ? 'accepted' : 'dropped';
    if (core.role !== Role.Follower || core.leader === NO_MEMBER) return 'dropped';
    const message = core.draft(MessageType.ReadIndex, core.leader);
    message.context = context;
    core.outbox.put(message);
    return 'forwarded';
  }

  /** Hands leadership to the voter `to`; a follower asks the leader to. Given up after one election timeout. */
  transferLeadership(to: MemberId): ProposalResult {
    const core = this.#core;
    if (core.role === Role.Leader) return startTransfer(core, to) ? 'accepted' : 'dropped';
    if (core.role !== Role.Follower || core.leader === NO_MEMBER || core.leader === to) return 'dropped';
    const message = core.draft(MessageType.TransferLeader, core.leader);
    message.from = to;
    core.outbox.put(message);
    return 'forwarded';
  }

  /**
   * Puts a committed conf change in force, while applying its entry. A change the member refuses is applied with
   * nodeId 0n. Returns the configuration that holds from then on: the member persists it with its state.
   */
  applyConfChange(change: ConfChange): ConfState {
    return applyConfChange(this.#core, change);
  }

  /** Messages to `id` could not be delivered. */
  reportUnreachable(id: MemberId): void {
    const progress = this.#core.tracker.get(id);
    if (progress !== undefined && this.#core.role === Role.Leader) handleUnreachable(progress);
  }

  /**
   * The member `id` is known to be gone. A follower it led has no leader from now on: what is proposed waits for the
   * next one instead of getting lost, and votes are not held back by the lease of the dead. Term and vote stay, so two
   * leaders in a term stay impossible even if it is not true; the next message of that leader makes it known again.
   */
  forgetLeader(id: MemberId): void {
    this.#assertBetweenReadies();
    if (this.#core.role === Role.Follower && this.#core.leader === id) this.#core.leader = NO_MEMBER;
  }

  /** The snapshot to `id` was delivered completely (ok) or failed. Must follow every MsgSnap that was sent. */
  reportSnapshot(id: MemberId, ok: boolean): void {
    const progress = this.#core.tracker.get(id);
    if (progress !== undefined && this.#core.role === Role.Leader) handleSnapshotReport(progress, ok);
  }

  /** Ends the batch: makes the messages that are due, and says whether there is anything for the member to do. */
  hasReady(): boolean {
    this.#assertBetweenReadies();
    const core = this.#core;
    this.#flush();
    return (
      core.log.hasUnstable() ||
      !core.outbox.isEmpty ||
      core.log.hasCommittedToApply() ||
      core.readStates.length > 0 ||
      core.log.pendingSnapshot() !== undefined ||
      this.#hardStateChanged() ||
      this.#softStateChanged()
    );
  }

  /** The work of this batch. advance() must follow when it is done. */
  ready(): Ready {
    this.#assertBetweenReadies();
    const core = this.#core;
    this.#flush();
    const entries = core.log.unstable();
    const snapshot = core.log.pendingSnapshot();
    const hardStateChanged = this.#hardStateChanged();
    const hardState = hardStateChanged ? core.hardState : undefined;
    const votes = core.term !== this.#hardState.term || core.vote !== this.#hardState.vote;
    const ready: Ready = {
      softState: this.#softStateChanged() ? { leader: core.leader, role: core.role } : undefined,
      hardState,
      entries,
      snapshot,
      committedEntries: this.#committedEntries(),
      sendNow: core.outbox.takeNow(),
      sendAfterPersist: core.outbox.takeAfterPersist(),
      readStates: this.#takeReadStates(),
      mustSync: entries.length > 0 || votes || snapshot !== undefined,
    };
    if (ready.softState !== undefined) this.#softState = ready.softState;
    if (hardState !== undefined) this.#hardState = hardState;
    this.#outstanding = ready;
    return ready;
  }

  /** The Ready is sent, persisted, applied. Now this member's own vote and its own log count (I6, I9). */
  advance(ready: Ready): void {
    assert(this.#outstanding === ready, 'advance follows ready, with the same Ready');
    this.#outstanding = undefined;
    const core = this.#core;
    const { log } = core;
    if (ready.hardState !== undefined) core.persisted = ready.hardState;
    if (ready.snapshot !== undefined) log.snapshotInstalled(ready.snapshot.index);
    const last = ready.entries[ready.entries.length - 1];
    if (last !== undefined) log.stableTo(last.index, last.term);
    this.#applied(ready.committedEntries);
    if (core.role === Role.Leader) ackOwnLog(core);
    countOwnVote(core);
    this.#invariants.check();
  }

  #flush(): void {
    const core = this.#core;
    if (core.role === Role.Leader) {
      maybeLeaveJoint(core);
      flushReplication(core);
      flushHeartbeats(core);
    } else {
      flushVoteRequests(core);
    }
  }

  #committedEntries(): readonly Entry[] {
    const { log, options } = this.#core;
    const entries = log.committedToApply(options.committedBytesMax ?? options.messageBytesMax);
    // The law of apply: never beyond what is on disk once this Ready's entries are, for those are all unstable ones.
    const last = entries[entries.length - 1];
    assert(last === undefined || last.index <= log.lastIndex(), 'I6: only persisted entries are applied');
    return entries;
  }

  #applied(entries: readonly Entry[]): void {
    const { log } = this.#core;
    const last = entries[entries.length - 1];
    if (last === undefined) return;
    log.appliedTo(last.index);
    if (this.#core.role === Role.Leader) settleUncommitted(this.#core, entries);
  }

  #takeReadStates(): readonly ReadState[] {
    const readStates = this.#core.readStates;
    if (readStates.length > 0) this.#core.readStates = [];
    return readStates;
  }

  #hardStateChanged(): boolean {
    const { term, vote, log } = this.#core;
    return term !== this.#hardState.term || vote !== this.#hardState.vote || log.committed !== this.#hardState.commit;
  }

  #softStateChanged(): boolean {
    return this.#core.leader !== this.#softState.leader || this.#core.role !== this.#softState.role;
  }

  #assertBetweenReadies(): void {
    assert(this.#outstanding === undefined, 'advance() comes before the next step, tick or ready');
  }
}
