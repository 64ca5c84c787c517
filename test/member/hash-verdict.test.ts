/** What hashes say about members: agreement, difference, and the unknown, which is never agreement. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HashAnswer, judgeHashes, type Verdict } from '../../src/member/hash-verdict.js';

const answer = (hash: number, changes: Partial<HashAnswer> = {}): HashAnswer => ({
  ...{ hash, revision: 10, compactRevision: 4, currentRevision: 10 },
  ...changes,
});

function judge(others: (HashAnswer | undefined)[], confirmed: HashAnswer | undefined = answer(7)): Verdict {
  const entries = others.map((one, at) => [BigInt(at + 2), one] as const);
  return judgeHashes({ self: 1n, own: answer(7), others: new Map(entries), confirmed });
}

test('all agree', () => {
  assert.deepEqual(judge([answer(7), answer(7)]), { different: [], unknown: [], agreeing: [2n, 3n] });
  assert.deepEqual(judge([]), { different: [], unknown: [], agreeing: [] });
});

test('who was not heard is unknown, and so is who has compacted elsewhere', () => {
  assert.deepEqual(judge([undefined, answer(9, { compactRevision: 3 })]), {
    different: [],
    unknown: [2n, 3n],
    agreeing: [],
  });
});

test('a majority is right, also against the one that asks', () => {
  assert.deepEqual(judge([answer(7), answer(8)]).different, [3n]);
  assert.deepEqual(judge([answer(8), answer(8)]).different, [1n]);
  assert.deepEqual(judge([answer(8), answer(8), answer(9), answer(7)]).different, [2n, 3n, 4n]);
});

test('without a majority it is who differs from the one that asks', () => {
  assert.deepEqual(judge([answer(8)]).different, [2n]);
  assert.deepEqual(judge([answer(8), undefined]).different, [2n]);
  assert.deepEqual(judge([answer(8), answer(9)]).different, [2n, 3n]);
});

test('nobody is further than a leader that has confirmed since', () => {
  assert.deepEqual(judge([answer(7, { currentRevision: 11 })]).different, [2n]);
  assert.deepEqual(judge([answer(7, { compactRevision: 5 })]).different, [2n]);
  const later = answer(3, { revision: 20, currentRevision: 20, compactRevision: 9 });
  assert.deepEqual(judge([answer(7, { currentRevision: 20 }), answer(1, { compactRevision: 9 })], later), {
    different: [],
    unknown: [3n],
    agreeing: [2n],
  });
});

test('a member whose own hash changes by itself differs', () => {
  assert.deepEqual(judge([answer(7)], answer(8)).different, [1n]);
  assert.deepEqual(judge([answer(7)], answer(8, { compactRevision: 6 })).different, []);
});
