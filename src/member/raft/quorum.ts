/**
 * Majorities, simple and joint: who has voted, and which index a quorum has reached.
 *
 * A configuration is one group of voters, or two while it is joint (thesis §4.3). Every decision needs a majority of
 * BOTH groups (I14): commits, elections, read confirmation and CheckQuorum all come through here. An empty group
 * decides nothing by itself: it agrees to everything, so that the empty outgoing half of a simple configuration does
 * not count.
 */

export type VoteResult = 'pending' | 'won' | 'lost';

/** Votes needed in a group of `count` voters. */
export function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The highest index that a majority of `voters` has reached, each voter's index read by `reachedIndex`. Infinity for an
 * empty group. O(n²) insertion into a scratch array: groups are small and this runs per batch.
 */
export function reachedByMajority<Voter>(voters: readonly Voter[], reachedIndex: (voter: Voter) => number): number {
  const count = voters.length;
  if (count === 0) return Infinity;
  scratch.length = 0;
  for (let i = 0; i < count; i++) {
    const index = reachedIndex(voters[i]!);
    let hole = i;
    while (hole > 0 && scratch[hole - 1]! < index) {
      scratch[hole] = scratch[hole - 1]!;
      hole--;
    }
    scratch[hole] = index;
  }
  return scratch[majority(count) - 1]!;
}

/** The highest index that majorities of both groups have reached; 0 when there is no voter at all. */
export function reachedByQuorum<Voter>(
  incoming: readonly Voter[],
  outgoing: readonly Voter[],
  reachedIndex: (voter: Voter) => number,
): number {
  const a = reachedByMajority(incoming, reachedIndex);
  const b = reachedByMajority(outgoing, reachedIndex);
  const index = Math.min(a, b);
  return index === Infinity ? 0 : index;
}

/** The outcome of a vote in one group; `voteOf` says undefined for a voter that has not answered. */
export function majorityVote<Voter>(
  voters: readonly Voter[],
  voteOf: (voter: Voter) => boolean | undefined,
): VoteResult {
  if (voters.length === 0) return 'won';
  let granted = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = voteOf(voter);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return 'won';
  return granted + missing >= needed ? 'pending' : 'lost';
}

/** The outcome of a vote that both groups must win. */
export function quorumVote<Voter>(
  incoming: readonly Voter[],
  outgoing: readonly Voter[],
  voteOf: (voter: Voter) => boolean | undefined,
): VoteResult {
  const a = majorityVote(incoming, voteOf);
  const b = majorityVote(outgoing, voteOf);
  if (a === b) return a;
  return a === 'lost' || b === 'lost' ? 'lost' : 'pending';
}

const scratch: number[] = [];
