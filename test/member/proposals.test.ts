import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Proposal, Proposals } from '../../src/member/proposals.js';
import type { Raft } from '../../src/member/raft/raft.js';
import type { ProposalResult, Proposal as RaftProposal } from '../../src/member/raft/types.js';
import { proposedPerTurn } from '../../src/member/turn-limits.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';

/** A Raft that answers as told and keeps what it took. */
function fakeRaft(answer: () => ProposalResult): { raft: Raft; taken: Uint8Array[] } {
  const taken: Uint8Array[] = [];
  const propose = (batch: readonly RaftProposal[]): ProposalResult => {
    const result = answer();
    if (result !== 'dropped') taken.push(...batch.map(({ data }) => data));
    return result;
  };
  return { raft: { propose } as unknown as Raft, taken };
}

const leader = { electedMs: Number.NEGATIVE_INFINITY, electionTimeoutMs: 1000 };
const data = (byte: number): Uint8Array => new Uint8Array([byte]);
const proposal = (requestId: number, startedMs = 0): Proposal => ({ requestId, method: 2, startedMs });

test('what Raft drops is offered again, what it takes never', () => {
  const proposals = new Proposals(0);
  let result: ProposalResult = 'dropped';
  const { raft, taken } = fakeRaft(() => result);
  proposals.add(proposals.nextCounter(), data(1), proposal(1));
  proposals.offer(raft);
  assert.equal(taken.length, 0);
  result = 'forwarded';
  proposals.add(proposals.nextCounter(), data(2), proposal(2));
  proposals.offer(raft);
  proposals.offer(raft);
  assert.deepEqual(taken, [data(1), data(2)]);
});

test('what has piled up without a leader is proposed in pieces, in order', () => {
  const proposals = new Proposals(0);
  const { raft, taken } = fakeRaft(() => 'accepted');
  const sent = Array.from({ length: 6 }, (_, at) => new Uint8Array(proposedPerTurn / 2).fill(at));
  for (const [at, bytes] of sent.entries()) proposals.add(proposals.nextCounter(), bytes, proposal(at + 1));
  const pieces: number[] = [];
  let more = true;
  while (more) {
    const before = taken.length;
    more = proposals.offer(raft);
    pieces.push(taken.length - before);
  }
  assert.deepEqual(pieces, [2, 2, 2]);
  assert.deepEqual(taken, sent);
});

test('an applied entry finds its proposal once', () => {
  const proposals = new Proposals(0);
  const counter = proposals.nextCounter();
  proposals.add(counter, data(1), proposal(7));
  assert.equal(proposals.applied(counter)?.requestId, 7);
  assert.equal(proposals.applied(counter), undefined);
  assert.equal(proposals.size, 0);
});

test('a cancelled proposal is withdrawn while unsent and forgotten when sent', () => {
  const proposals = new Proposals(0);
  const { raft, taken } = fakeRaft(() => 'accepted');
  const [first, second] = [proposals.nextCounter(), proposals.nextCounter()];
  proposals.add(first, data(1), proposal(1));
  proposals.add(second, data(2), proposal(2));
  proposals.cancel(1);
  proposals.offer(raft);
  assert.deepEqual(taken, [data(2)]);
  proposals.cancel(2);
  assert.equal(proposals.applied(second), undefined);
  proposals.cancel(3);
});

test('time runs out with the error etcd gives', () => {
  const ended: [number, number][] = [];
  const visit = (ending: Proposal, error: number): void => void ended.push([ending.requestId, error]);
  const proposals = new Proposals(0);
  let result: ProposalResult = 'accepted';
  const { raft } = fakeRaft(() => result);
  proposals.add(proposals.nextCounter(), data(1), proposal(1, 100));
  proposals.offer(raft);
  result = 'dropped';
  proposals.add(proposals.nextCounter(), data(2), proposal(2, 200));
  proposals.offer(raft);
  proposals.add(proposals.nextCounter(), data(3), proposal(3, 5000));
  proposals.expire(7099, 7000, leader, visit);
  assert.deepEqual(ended, []);
  proposals.expire(7200, 7000, leader, visit);
  assert.deepEqual(ended, [
    [1, EtcdErrorCode.Timeout],
    [2, EtcdErrorCode.ContextDeadlineExceeded],
  ]);
  assert.equal(proposals.size, 1);
});

test('a proposal that met the end of a leader says so', () => {
  const ended: number[] = [];
  const proposals = new Proposals(0);
  const { raft } = fakeRaft(() => 'forwarded');
  proposals.add(proposals.nextCounter(), data(1), proposal(1, 100));
  proposals.offer(raft);
  proposals.expire(7200, 7000, { electedMs: 1500, electionTimeoutMs: 1000 }, (_, error) => ended.push(error));
  assert.deepEqual(ended, [EtcdErrorCode.TimeoutDueToLeaderFail]);
});

test('ids of a later start never meet those of an earlier one', () => {
  const earlier = new Proposals(1_700_000_000_000);
  const later = new Proposals(1_700_000_000_001);
  assert.equal(later.nextCounter() - earlier.nextCounter(), 256);
  assert.equal(new Proposals(0).nextCounter(), 1);
  assert.ok(Number.isSafeInteger(new Proposals(2 ** 40 - 1).nextCounter()));
});
