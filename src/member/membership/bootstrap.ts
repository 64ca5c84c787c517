/**
 * A new cluster's log: what every founding member writes by itself, to the same bytes, without talking to the others.
 *
 *   index 1 … N   term 1   ConfChange { id 0, AddNode, node id, context: the member's JSON }   ascending by member id
 *   hard state: term 1, vote none, commit N
 *
 * Raft gets the N voters at once; the entries go through normal apply too and fill the member table.
 */
import { assert } from '../../base/assert.js';
import { compareIds } from '../../wire/ids.js';
import { encode } from '../../wire/schema.js';
import { ConfChangeType, type ConfState, type Entry, EntryType, type HardState, NO_MEMBER } from '../raft/types.js';
import { encodeMemberRecord } from './member-record.js';

export interface FoundingMember {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
}

export interface BootstrapLog {
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly confState: ConfState;
}

const FIRST_TERM = 1;

/** The founding members may be given in any order; all members must be given the same ones. */
export function bootstrapLog(founding: readonly FoundingMember[]): BootstrapLog {
  assert(founding.length > 0, 'a cluster is founded by at least one member');
  const ascending = [...founding].sort((left, right) => compareIds(left.id, right.id));
  const entries = ascending.map((member, i): Entry => {
    assert(member.id !== NO_MEMBER && member.id !== ascending[i - 1]?.id, 'founding ids are distinct and not 0');
    return { type: EntryType.ConfChange, term: FIRST_TERM, index: i + 1, data: additionOf(member) };
  });
  return {
    entries,
    hardState: { term: FIRST_TERM, vote: NO_MEMBER, commit: entries.length },
    confState: {
      voters: ascending.map(member => member.id),
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    },
  };
}

function additionOf(member: FoundingMember): Uint8Array {
  return encode('raftpb.ConfChange', {
    id: 0,
    type: ConfChangeType.AddNode,
    node_id: member.id,
    context: encodeMemberRecord({ ...member, clientUrls: [], isLearner: false }),
  });
}
