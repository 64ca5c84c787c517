/** The configuration as etcd keeps it under `confState` in its bucket `meta`: Go's JSON, empty lists left out. */
import { utf8Encode } from '../base/bytes.js';

/** `raftpb.ConfState`, the ids as numbers of 64 bits. */
export interface ConfStateIds {
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  readonly votersOutgoing?: readonly bigint[];
  readonly learnersNext?: readonly bigint[];
  readonly autoLeave?: boolean;
}

export function encodeConfState(confState: ConfStateIds): Uint8Array {
  const { voters, learners, votersOutgoing = [], learnersNext = [], autoLeave = false } = confState;
  const lists: readonly [string, readonly bigint[]][] = [
    ['voters', voters],
    ['learners', learners],
    ['voters_outgoing', votersOutgoing],
    ['learners_next', learnersNext],
  ];
  const shown = lists.filter(([, ids]) => ids.length > 0).map(([name, ids]) => `"${name}":[${ids.join(',')}],`);
  return utf8Encode(`{${shown.join('')}"auto_leave":${autoLeave}}`);
}
