/**
 * Configuration changes as a pure function: (ConfState, ConfChange) -> ConfState or a reason why not.
 *
 *     simple  --one voter at most-->  simple
 *     simple  --any changes-------->  joint (voters = new, votersOutgoing = old)  --leave-->  simple
 *
 * A simple change touches at most one voter, because then any majority of the old and of the new voters overlap; more
 * than that goes through a joint configuration, where both majorities are needed (thesis §4.1, §4.3). A voter that
 * becomes a learner while it is still an outgoing voter waits in learnersNext: it votes until the joint configuration
 * is left. Removing a member that is not there and adding one that is are not errors, so replaying a bootstrap is safe.
 */
import { assert } from '../../base/assert.js';
import {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
  type MemberId,
  NO_MEMBER,
} from './types.js';

export type ConfChangeResult =
  | { readonly ok: true; readonly config: ConfState }
  | { readonly ok: false; readonly reason: string };

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

/** The change that leaves a joint configuration. */
export const LEAVE_JOINT: ConfChange = { transition: ConfChangeTransition.Auto, changes: [] };

export function isJoint(config: ConfState): boolean {
  return config.votersOutgoing.length > 0;
}

export function isLeave(change: ConfChange): boolean {
  return change.transition === ConfChangeTransition.Auto && change.changes.length === 0;
}

/** The configuration after `change`, or why it cannot follow `config`. */
export function applyChange(config: ConfState, change: ConfChange): ConfChangeResult {
  if (isLeave(change)) return leaveJoint(config);
  const joint = change.transition !== ConfChangeTransition.Auto || change.changes.length > 1;
  return joint ? enterJoint(config, change) : changeSimply(config, change.changes);
}

/** Asserts the laws of a configuration (I15). O(members). */
export function checkConfState(config: ConfState): void {
  for (const ids of [config.voters, config.learners, config.votersOutgoing, config.learnersNext]) {
    for (let i = 0; i < ids.length; i++) {
      assert(ids[i] !== NO_MEMBER && (i === 0 || ids[i - 1]! < ids[i]!), 'I15: ids ascend, none is 0', { id: ids[i] });
    }
  }
  for (const id of config.learners) {
    const voter = config.voters.includes(id) || config.votersOutgoing.includes(id);
    assert(!voter, 'I15: a learner is no voter in either half', { id });
  }
  for (const id of config.learnersNext) {
    const outgoingOnly = config.votersOutgoing.includes(id) && !config.voters.includes(id);
    assert(outgoingOnly, 'I15: a learner-to-be is an outgoing voter only', { id });
  }
  assert(isJoint(config) || (config.learnersNext.length === 0 && !config.autoLeave), 'I15: only a joint one is left');
}

/** The same configuration, whatever order its ids came in. */
export function normalizeConfState(config: ConfState): ConfState {
  return freeze(thaw(config));
}

interface Draft {
  readonly voters: Set<MemberId>;
  readonly learners: Set<MemberId>;
  readonly votersOutgoing: Set<MemberId>;
  readonly learnersNext: Set<MemberId>;
  autoLeave: boolean;
}

function leaveJoint(config: ConfState): ConfChangeResult {
  if (!isJoint(config)) return refuse('cannot leave a configuration that is not joint');
  const draft = thaw(config);
  for (const id of draft.learnersNext) draft.learners.add(id);
  draft.learnersNext.clear();
  draft.votersOutgoing.clear();
  draft.autoLeave = false;
  return accept(draft);
}

function enterJoint(config: ConfState, change: ConfChange): ConfChangeResult {
  if (isJoint(config)) return refuse('the configuration is already joint');
  if (config.voters.length === 0) return refuse('a configuration without voters cannot become joint');
  const draft = thaw(config);
  for (const id of draft.voters) draft.votersOutgoing.add(id);
  draft.autoLeave = change.transition !== ConfChangeTransition.JointExplicit;
  for (const single of change.changes) applySingle(draft, single);
  return accept(draft);
}

function changeSimply(config: ConfState, changes: readonly ConfChangeSingle[]): ConfChangeResult {
  if (isJoint(config)) return refuse('a simple change must wait until the joint configuration is left');
  const draft = thaw(config);
  for (const single of changes) applySingle(draft, single);
  let changed = 0;
  for (const id of draft.voters) if (!config.voters.includes(id)) changed++;
  for (const id of config.voters) if (!draft.voters.has(id)) changed++;
  if (changed > 1) return refuse('more than one voter changes without a joint configuration');
  return accept(draft);
}

function applySingle(draft: Draft, single: ConfChangeSingle): void {
  if (single.nodeId === NO_MEMBER) return;
  switch (single.type) {
    case ConfChangeType.AddNode:
      draft.learners.delete(single.nodeId);
      draft.learnersNext.delete(single.nodeId);
      draft.voters.add(single.nodeId);
      return;
    case ConfChangeType.AddLearnerNode:
      remove(draft, single.nodeId);
      if (draft.votersOutgoing.has(single.nodeId)) draft.learnersNext.add(single.nodeId);
      else draft.learners.add(single.nodeId);
      return;
    case ConfChangeType.RemoveNode:
      remove(draft, single.nodeId);
      return;
    case ConfChangeType.UpdateNode:
      return;
  }
}

function remove(draft: Draft, id: MemberId): void {
  draft.voters.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
}

function accept(draft: Draft): ConfChangeResult {
  if (draft.voters.size === 0) return refuse('no voter would be left');
  const config = freeze(draft);
  checkConfState(config);
  return { ok: true, config };
}

function refuse(reason: string): ConfChangeResult {
  return { ok: false, reason };
}

function thaw(config: ConfState): Draft {
  return {
    voters: new Set(config.voters),
    learners: new Set(config.learners),
    votersOutgoing: new Set(config.votersOutgoing),
    learnersNext: new Set(config.learnersNext),
    autoLeave: config.autoLeave,
  };
}

function freeze(draft: Draft): ConfState {
  return {
    voters: ascending(draft.voters),
    learners: ascending(draft.learners),
    votersOutgoing: ascending(draft.votersOutgoing),
    learnersNext: ascending(draft.learnersNext),
    autoLeave: draft.autoLeave,
  };
}

function ascending(ids: Iterable<MemberId>): readonly MemberId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : 1));
}
