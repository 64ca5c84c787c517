/**
 * Linearizable reads without log entries (thesis §6.4): the leader notes its commit index, proves that it still leads,
 * and hands out the index; the reader applies up to it and reads its own state.
 */
import { assert } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { type MemberId, MessageType } from './types.js';

/** Reads that may wait at one leader; a member asks once per batch of client reads, so this is far away. */
export const READS_WAITING_MAX = 10_000;

/** A read arrived at the leader. False: too many wait. */
export function acceptRead(core: RaftCore, from: MemberId, context: number): boolean {
  if (core.reads.count + core.heldReads.length >= READS_WAITING_MAX) return false;
  // Before the first commit of its term a leader does not know what is committed (I16, Redis-Raft's stale reads).
  if (core.log.committed < core.termStartIndex) core.heldReads.push({ from, context });
  else registerRead(core, from, context);
  return true;
}

/** The first entry of the term is committed: the reads that waited for it may start to be confirmed. */
export function releaseHeldReads(core: RaftCore): void {
  if (core.heldReads.length === 0) return;
  const held = core.heldReads;
  core.heldReads = [];
  for (const read of held) registerRead(core, read.from, read.context);
}

/** Answers all reads whose position a quorum has echoed. This member itself agrees with every position. */
export function confirmReads(core: RaftCore): void {
  if (core.reads.count === 0) return;
  const self = core.tracker.get(core.id);
  if (self !== undefined) self.readPosition = Number.MAX_SAFE_INTEGER;
  const position = Math.min(core.tracker.echoedPosition(), core.reads.newestPosition());
  for (const read of core.reads.confirm(position)) answer(core, read.from, read.context, read.index);
}

function registerRead(core: RaftCore, from: MemberId, context: number): void {
  core.reads.add(from, context, core.log.committed);
  core.heartbeatDue = true;
  const { voters } = core.tracker;
  if (voters.length === 1 && voters[0]!.id === core.id) confirmReads(core);
}

function answer(core: RaftCore, from: MemberId, context: number, index: number): void {
  assert(core.log.committed >= core.termStartIndex, 'I16: reads are answered after an own-term commit');
  if (from === core.id) {
    core.readStates.push({ index, context });
    return;
  }
  const message = core.draft(MessageType.ReadIndexResp, from);
  message.index = index;
  message.context = context;
  core.outbox.put(message);
}
