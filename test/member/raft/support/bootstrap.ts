/** Members as a new cluster makes them: the first N conf changes in every log, committed, at term 1. */

import { EMPTY_CONF_STATE } from '../../../../src/member/raft/conf-change.js';
import { encodeConfChange } from '../../../../src/member/raft/conf-change-codec.js';
import {
  ConfChangeType,
  type ConfState,
  type Entry,
  EntryType,
  type MemberId,
  NO_MEMBER,
} from '../../../../src/member/raft/types.js';
import { digest, type MachineState, type MemberEvents, type MemberSettings, TestMember } from './test-member.js';

export interface MemberPlan {
  readonly settings: MemberSettings;
  readonly events: MemberEvents;
}

/** The entries of a new cluster's log. */
export function bootstrapEntries(voters: readonly MemberId[]): Entry[] {
  return voters.map((nodeId, i) => ({
    type: EntryType.ConfChange,
    term: 1,
    index: i + 1,
    data: encodeConfChange({ id: 0n, type: ConfChangeType.AddNode, nodeId, context: new Uint8Array(0) }),
  }));
}

/** A member of a new cluster that has applied nothing. */
export function bootstrap(id: MemberId, voters: readonly MemberId[], plan: MemberPlan): TestMember {
  const confState: ConfState = { ...EMPTY_CONF_STATE, voters };
  const state: MachineState = { index: 0, digest: 0, confState };
  return new TestMember(id, plan.settings, plan.events, state, log => {
    const entries = bootstrapEntries(voters);
    log.bootstrap(entries, { term: 1, vote: NO_MEMBER, commit: entries.length }, confState);
  });
}

/** The same member after it has applied its bootstrap entries; `learners` as if they had been added in no time. */
export function bootstrapApplied(
  id: MemberId,
  voters: readonly MemberId[],
  learners: readonly MemberId[],
  plan: MemberPlan,
): TestMember {
  const confState: ConfState = { ...EMPTY_CONF_STATE, voters, learners };
  const entries = bootstrapEntries(voters);
  const state: MachineState = { index: entries.length, digest: entries.reduce(digest, 0), confState };
  return new TestMember(id, plan.settings, plan.events, state, log => {
    log.bootstrap(entries, { term: 1, vote: NO_MEMBER, commit: entries.length }, confState);
  });
}

/** A member that joins an existing cluster: it has nothing and listens. */
export function joining(id: MemberId, plan: MemberPlan): TestMember {
  return new TestMember(id, plan.settings, plan.events, { index: 0, digest: 0, confState: EMPTY_CONF_STATE }, () => {});
}
