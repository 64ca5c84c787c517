/** Quorum arithmetic against a second algorithm that tries all sets of voters. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { majority, quorumVote, reachedByQuorum, type VoteResult } from '../../../src/member/raft/quorum.js';

/** All sets of voters that decide: those with more than half of each group that has any. */
function decidingSets(incoming: readonly number[], outgoing: readonly number[]): number[][] {
  const all = [...new Set([...incoming, ...outgoing])];
  const sets: number[][] = [];
  for (let bits = 0; bits < 1 << all.length; bits++) {
    const set = all.filter((_, i) => (bits >> i) % 2 === 1);
    const decides = (group: readonly number[]) =>
      group.length === 0 || 2 * group.filter(voter => set.includes(voter)).length > group.length;
    if (decides(incoming) && decides(outgoing)) sets.push(set);
  }
  return sets;
}

function drawGroup(prng: Prng, sizeMax: number): number[] {
  const size = prng.nextBelow(sizeMax + 1);
  const group = new Set<number>();
  while (group.size < size) group.add(prng.nextBelow(7));
  return [...group];
}

test('the index reached by a quorum is the highest that some deciding set has reached', () => {
  const prng = new Prng(1);
  for (let round = 0; round < 3000; round++) {
    const incoming = drawGroup(prng, 5);
    const outgoing = drawGroup(prng, 5);
    const reached = Array.from({ length: 7 }, () => prng.nextBelow(6));
    const expected =
      incoming.length + outgoing.length === 0
        ? 0
        : Math.max(...decidingSets(incoming, outgoing).map(set => Math.min(...set.map(voter => reached[voter]!))));
    const actual = reachedByQuorum(incoming, outgoing, voter => reached[voter]!);
    assert.equal(actual, expected, JSON.stringify({ incoming, outgoing, reached }));
    assert.equal(
      reachedByQuorum(outgoing, incoming, voter => reached[voter]!),
      expected,
      'the halves are equal',
    );
  }
});

test('a vote is won by a deciding set, lost when none is left, pending otherwise', () => {
  const prng = new Prng(2);
  for (let round = 0; round < 3000; round++) {
    const incoming = drawGroup(prng, 5);
    const outgoing = drawGroup(prng, 5);
    const votes = Array.from({ length: 7 }, () => [true, false, undefined][prng.nextBelow(3)]);
    const sets = decidingSets(incoming, outgoing);
    let expected: VoteResult = 'lost';
    if (sets.some(set => set.every(voter => votes[voter] !== false))) expected = 'pending';
    if (sets.some(set => set.every(voter => votes[voter] === true))) expected = 'won';
    const actual = quorumVote(incoming, outgoing, voter => votes[voter]);
    assert.equal(actual, expected, JSON.stringify({ incoming, outgoing, votes }));
  }
});

test('majorities of small groups', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
});
