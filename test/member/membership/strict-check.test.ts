import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MemberRecord } from '../../../src/member/membership/member-record.js';
import {
  type ClusterView,
  checkAddition,
  checkPromotion,
  checkRemoval,
} from '../../../src/member/membership/strict-check.js';
import { EtcdErrorCode } from '../../../src/wire/errors.js';

const { MemberNotEnoughStarted, Unhealthy } = EtcdErrorCode;
const long = 5_000;

/**
 * A cluster in a word, the asked member first: S a started voter, s the same connected for less than five seconds, d a
 * started voter that is down, u a voter that never started, L a learner.
 */
function cluster(word: string): ClusterView {
  const letters = [...word];
  const members = letters.map((letter, at): MemberRecord => {
    const name = letter === 'u' ? '' : `m${at}`;
    return { id: BigInt(at + 1), name, peerUrls: [], clientUrls: [], isLearner: letter === 'L' };
  });
  const forMs: Readonly<Record<string, number | undefined>> = { S: long, L: long, s: long - 1 };
  return { self: 1n, members, connectedForMs: id => forMs[letters[Number(id) - 1] as string] };
}

for (const [word, asVoter, asLearner] of [
  ['S', undefined, undefined],
  ['Su', MemberNotEnoughStarted, Unhealthy],
  ['SS', undefined, undefined],
  ['Ss', Unhealthy, Unhealthy],
  ['SSS', undefined, undefined],
  ['SSs', Unhealthy, Unhealthy],
  ['SSd', Unhealthy, Unhealthy],
  ['SSSL', undefined, undefined],
  ['SSSu', undefined, undefined],
  ['SSSuu', MemberNotEnoughStarted, Unhealthy],
  ['SSSSd', undefined, undefined],
  ['SSSdd', Unhealthy, Unhealthy],
] as const) {
  test(`adding to ${word}`, () => {
    assert.equal(checkAddition(cluster(word), false), asVoter, 'a voter');
    assert.equal(checkAddition(cluster(word), true), asLearner, 'a learner');
  });
}

for (const [word, id, expected] of [
  ['S', 1n, MemberNotEnoughStarted],
  ['SS', 1n, undefined],
  ['SS', 2n, undefined],
  ['Ss', 2n, Unhealthy],
  ['Sd', 2n, undefined],
  ['Sd', 1n, Unhealthy],
  ['Su', 2n, undefined],
  ['Su', 1n, MemberNotEnoughStarted],
  ['SSS', 3n, undefined],
  ['SSd', 3n, undefined],
  ['SSd', 2n, Unhealthy],
  ['SSuu', 2n, MemberNotEnoughStarted],
  ['SSdd', 3n, undefined],
  ['SSSSd', 2n, undefined],
  ['SSSdd', 2n, Unhealthy],
  ['SdL', 3n, undefined],
  ['SSS', 99n, undefined],
] as const) {
  test(`removing ${id} from ${word}`, () => {
    assert.equal(checkRemoval(cluster(word), id), expected);
  });
}

for (const [word, expected] of [
  ['SL', undefined],
  ['SuL', undefined],
  ['SuuL', MemberNotEnoughStarted],
  ['SddL', undefined],
] as const) {
  test(`promoting the learner of ${word}`, () => {
    assert.equal(checkPromotion(cluster(word)), expected);
  });
}
