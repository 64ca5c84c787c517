/** A member's view of itself and, on a leader, of the others: plain data for status calls, metrics and transcripts. */
import type { RaftCore } from './core.js';
import type { ProgressState } from './progress.js';
import { type ConfState, type MemberId, Role } from './types.js';

export interface ProgressStatus {
  readonly id: MemberId;
  readonly isLearner: boolean;
  readonly state: ProgressState;
  readonly match: number;
  readonly next: number;
  readonly pendingSnapshot: number;
  readonly paused: boolean;
  readonly recentActive: boolean;
  readonly inflightMessages: number;
  readonly inflightBytes: number;
}

export interface RaftStatus {
  readonly id: MemberId;
  readonly term: number;
  readonly vote: MemberId;
  readonly leader: MemberId;
  readonly role: Role;
  readonly committed: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** 0n = no transfer under way. */
  readonly leadTransferee: MemberId;
  readonly confState: ConfState;
  readonly readsWaiting: number;
  readonly uncommittedBytes: number;
  /** On a leader, for every member; empty elsewhere. */
  readonly progress: readonly ProgressStatus[];
}

export function readStatus(core: RaftCore): RaftStatus {
  const { log } = core;
  return {
    id: core.id,
    term: core.term,
    vote: core.vote,
    leader: core.leader,
    role: core.role,
    committed: log.committed,
    applied: log.applied,
    firstIndex: log.firstIndex(),
    lastIndex: log.lastIndex(),
    leadTransferee: core.leadTransferee,
    confState: core.tracker.config,
    readsWaiting: core.reads.count + core.heldReads.length,
    uncommittedBytes: core.uncommittedBytes,
    progress: core.role === Role.Leader ? core.tracker.members.map(progressStatus) : [],
  };
}

function progressStatus(progress: RaftCore['tracker']['members'][number]): ProgressStatus {
  return {
    id: progress.id,
    isLearner: progress.isLearner,
    state: progress.state,
    match: progress.match,
    next: progress.next,
    pendingSnapshot: progress.pendingSnapshot,
    paused: progress.isPaused(),
    recentActive: progress.recentActive,
    inflightMessages: progress.inflights.count,
    inflightBytes: progress.inflights.bytes,
  };
}
