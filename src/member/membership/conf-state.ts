/** The configuration as etcd keeps it under `confState` in its bucket `meta`: Go's JSON, empty lists left out. */
import { utf8Encode } from '../../base/bytes.js';
import type { ConfState, MemberId } from '../raft/types.js';

export function encodeConfState(confState: ConfState): Uint8Array {
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState;
  const lists: readonly [string, readonly MemberId[]][] = [
    ['voters', voters],
    ['learners', learners],
    ['voters_outgoing', votersOutgoing],
    ['learners_next', learnersNext],
  ];
  const shown = lists.filter(([, ids]) => ids.length > 0).map(([name, ids]) => `"${name}":[${ids.join(',')}],`);
  return utf8Encode(`{${shown.join('')}"auto_leave":${autoLeave}}`);
}
