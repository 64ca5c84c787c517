/**
 * The vocabulary of the Raft core: what goes in (messages, proposals, configuration changes), what comes out (Ready)
 * and what it reads (LogStorage). Field names and numbers are raftpb's, so that a log means here what it means in
 * etcd; only the encoding between members is our own (codec.ts).
 *
 * Indexes and terms are safe integers starting at 1; 0 means "none". Member ids are uint64 as bigint; 0n means "none".
 *
 * The loop that drives the core, in this order and no other:
 *
 *     while (raft.hasReady()) {
 *       const ready = raft.ready();
 *       send(ready.sendNow);                                         // needs nothing on disk (thesis §10.2.1)
 *       if (ready.snapshot) installSnapshot(ready.snapshot);         // log and state both restart at its index
 *       log.append(ready.entries, ready.hardState, ready.mustSync);  // durable on return when mustSync
 *       send(ready.sendAfterPersist);                                // promises about what is now on disk
 *       apply(ready.committedEntries);                               // calls raft.applyConfChange for each conf change
 *       raft.advance(ready);
 *     }
 */

/** A member of the cluster. 0n = none. */
export type MemberId = bigint;
export const NO_MEMBER: MemberId = 0n;

export const EntryType = { Normal: 0, ConfChange: 1, ConfChangeV2: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

/**
 * One log entry. `data` of length 0 is a no-op (a Normal entry) or the leaving of a joint configuration
 * (ConfChangeV2).
 */
export interface Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  readonly data: Uint8Array;
}

/** What a caller proposes: an entry that has no place in the log yet. */
export interface Proposal {
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/**
 * What an entry weighs beyond its data wherever a number of bytes is limited: it takes memory and time as so many more
 * bytes would, so that a limit of bytes limits the number of small entries too. Never less than its head in a message.
 */
export const ENTRY_OVERHEAD_BYTES = 256;

/** The weight of an entry under `bytesMax` limits (messages, committed batches, LogStorage.entries). */
export function entryBytes(entry: Proposal): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

/** The weight of all of them. */
export function weigh(entries: readonly Entry[]): number {
  let bytes = entries.length * ENTRY_OVERHEAD_BYTES;
  for (let i = 0; i < entries.length; i++) bytes += entries[i]!.data.length;
  return bytes;
}

/**
 * Durable per-member state. `term` and `vote` must be on disk before a promise made in that term leaves; `commit` may
 * lag.
 */
export interface HardState {
  readonly term: number;
  readonly vote: MemberId;
  readonly commit: number;
}

/** State worth telling others about, never persisted. */
export interface SoftState {
  readonly leader: MemberId;
  readonly role: Role;
}

export const Role = { Follower: 0, PreCandidate: 1, Candidate: 2, Leader: 3 } as const;
export type Role = (typeof Role)[keyof typeof Role];

/**
 * A configuration as data. Ids ascend in every list. `votersOutgoing` is non-empty exactly while the configuration is
 * joint; `learnersNext` are outgoing voters that become learners when the joint configuration is left.
 */
export interface ConfState {
  readonly voters: readonly MemberId[];
  readonly learners: readonly MemberId[];
  readonly votersOutgoing: readonly MemberId[];
  readonly learnersNext: readonly MemberId[];
  readonly autoLeave: boolean;
}

/**
 * What a snapshot covers: all entries up to `index`, the last of them of `term`, and the configuration at that point.
 */
export interface SnapshotMetadata {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState;
}

export const ConfChangeType = { AddNode: 0, RemoveNode: 1, UpdateNode: 2, AddLearnerNode: 3 } as const;
export type ConfChangeType = (typeof ConfChangeType)[keyof typeof ConfChangeType];

/**
 * Auto: one change is simple, more go through a joint configuration that is left automatically.
 * JointImplicit: always joint, left automatically. JointExplicit: always joint, left by an empty change.
 */
export const ConfChangeTransition = { Auto: 0, JointImplicit: 1, JointExplicit: 2 } as const;
export type ConfChangeTransition = (typeof ConfChangeTransition)[keyof typeof ConfChangeTransition];

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  /** 0n = no change (a refused change is applied as this). */
  readonly nodeId: MemberId;
}

/** A change as raft applies it. An Auto transition without changes leaves a joint configuration. */
export interface ConfChange {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
}

/** The messages that travel between members, numbered as raftpb.MessageType. Local ones are method calls here. */
export const MessageType = {
  Prop: 2,
  App: 3,
  AppResp: 4,
  Vote: 5,
  VoteResp: 6,
  Snap: 7,
  Heartbeat: 8,
  HeartbeatResp: 9,
  TransferLeader: 13,
  TimeoutNow: 14,
  ReadIndex: 15,
  ReadIndexResp: 16,
  PreVote: 17,
  PreVoteResp: 18,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/**
 * A message between members. Every field is always present, so that all messages have one shape; see raftpb for which
 * of them mean something in which type.
 */
export interface Message {
  readonly type: MessageType;
  readonly to: MemberId;
  readonly from: MemberId;
  /** 0 in forwarded requests (Prop, ReadIndex): those carry no claim about a term. */
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly reject: boolean;
  readonly rejectHint: number;
  /**
   * Heartbeat and its answer: the leader's read position; ReadIndex and its answer: the asking member's context. 0 =
   * none.
   */
  readonly context: number;
  /** Vote only: asked for by the leader in a transfer, so leases do not protect that leader. */
  readonly campaignTransfer: boolean;
  /**
   * Snap only. The state itself travels outside Raft and is complete before the message is stepped. The receiver
   * keeps it until Ready.snapshot names its index; where a Ready names another one or none, it was of no use.
   */
  readonly snapshot: SnapshotMetadata | undefined;
}

/** A linearizable read may be served from the state machine once `index` is applied. */
export interface ReadState {
  readonly index: number;
  readonly context: number;
}

/**
 * One batch of work for the member, to be done in the order of the loop above. Entries in `committedEntries` are never
 * newer than what is persisted once `entries` of the same Ready are.
 */
export interface Ready {
  readonly softState: SoftState | undefined;
  /** Present when it differs from what was handed out last. Goes into the same durable write as `entries`. */
  readonly hardState: HardState | undefined;
  /** To append; the first one's index may be lower than the log's end, then the log's tail from there on is void. */
  readonly entries: readonly Entry[];
  /** To install first: the log becomes empty behind it, the state is the one that came with it. */
  readonly snapshot: SnapshotMetadata | undefined;
  readonly committedEntries: readonly Entry[];
  readonly sendNow: readonly Message[];
  readonly sendAfterPersist: readonly Message[];
  readonly readStates: readonly ReadState[];
  /** False: the write may reach the disk later, a crash that loses it breaks no promise (only `commit` moved). */
  readonly mustSync: boolean;
}

/** The persisted log as the core reads it. All calls are synchronous and see every completed append. */
export interface LogStorage {
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /** Index of the first entry available; one more than the snapshot's index (1 for a log that was never compacted). */
  firstIndex(): number;
  /** Index of the last entry, or firstIndex() - 1 for a log without entries. */
  lastIndex(): number;
  /** Term of an entry in [firstIndex() - 1, lastIndex()]; undefined outside (compacted or beyond the end). */
  term(index: number): number | undefined;
  /**
   * Entries [lo, hi) of which as many as weigh at most `bytesMax` by entryBytes(), but at least one. Asserts
   * firstIndex() <= lo < hi <= lastIndex() + 1. The caller does not change the array.
   */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[];
  /**
   * A snapshot this member can send now: index >= firstIndex() - 1. The state that is sent may be newer, never older;
   * the MsgSnap that goes with it then carries the newer metadata.
   */
  snapshotMetadata(): SnapshotMetadata;
}

/** Where the core takes its chance from; base/prng.ts has it. Same seed, same elections. */
export interface RandomSource {
  /** A uniform integer in [0, limit). */
  nextBelow(limit: number): number;
}

export interface RaftOptions {
  readonly id: MemberId;
  readonly storage: LogStorage;
  /** A follower campaigns after [electionTicks, 2 * electionTicks - 1] ticks of silence. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** Bytes of entries (entryBytes) in one MsgApp; a single larger entry still goes alone. */
  readonly messageBytesMax: number;
  /** Bytes of entries in one Ready.committedEntries; default messageBytesMax. */
  readonly committedBytesMax?: number;
  /** MsgApps with entries on their way to one follower. */
  readonly inflightMessagesMax: number;
  /** Bytes of entries on their way to one follower; default unlimited. */
  readonly inflightBytesMax?: number;
  /** Data bytes a leader appends beyond what is applied before it drops proposals. */
  readonly uncommittedBytesMax: number;
  /** The state machine's last applied index at start. */
  readonly appliedIndex: number;
  /** The configuration as of appliedIndex where it is kept with the applied state; default: the storage's. */
  readonly confState?: ConfState;
  readonly prng: RandomSource;
}

/**
 * accepted: in the leader's log or queue. forwarded: on its way to the leader, may get lost. dropped: nothing was
 * done.
 */
export type ProposalResult = 'accepted' | 'forwarded' | 'dropped';
