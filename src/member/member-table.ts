/**
 * What the member table means to the rest of the member: applying a configuration change, telling the host who is a
 * member, and whom not to listen to.
 */

import { encode } from '../wire/schema.js';
import type { HostLink } from './host-link.js';
import type { AppliedConfChange } from './membership/members.js';
import { memberMessage } from './membership/members.js';
import type { OpenMember } from './open.js';
import { type Entry, type Message, MessageType } from './raft/types.js';

/** Applies a configuration change entry to the table and puts it in force in Raft. */
export function applyConfChange({ log, raft, state }: OpenMember, entry: Entry): AppliedConfChange {
  const applied = state.members.applyConfChange(entry.data);
  const confState = raft.applyConfChange(applied.forRaft);
  log.setConfState(confState, entry.index);
  state.applier.applyEmpty(entry);
  // A removed member's thread ends when the host hears of it: a restart must not need its vote again, as it would if this
  // member came back to the configuration of before. Founding entries cost no time.
  if (applied.requestId !== 0n) state.store.commit();
  return applied;
}

/** The host runs the threads: it is told who is a member, and learns so whom to start and whom to stop. */
export function announceMembers({ state: { members, store } }: OpenMember, host: HostLink): void {
  const list = encode('etcdserverpb.MemberListResponse', { members: members.list().map(memberMessage) });
  host.members(store.appliedIndex, list);
}

/** A removed member may still hand its leadership over, but gets no vote and nothing done any more (M3). */
export function isRefused({ state: { members } }: OpenMember, { from, type }: Message): boolean {
  const { Vote, PreVote, Prop, ReadIndex } = MessageType;
  const asks = type === Vote || type === PreVote || type === Prop || type === ReadIndex;
  return asks && members.isRemoved(from);
}

export function isLearner({ identity, state: { members } }: OpenMember): boolean {
  return members.get(identity.id)?.isLearner === true;
}
