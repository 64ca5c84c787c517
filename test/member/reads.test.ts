import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Raft } from '../../src/member/raft/raft.js';
import type { ProposalResult } from '../../src/member/raft/types.js';
import { type Read, Reads } from '../../src/member/reads.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';

function fakeRaft(answer: () => ProposalResult): { raft: Raft; contexts: number[] } {
  const contexts: number[] = [];
  const readIndex = (context: number): ProposalResult => {
    contexts.push(context);
    return answer();
  };
  return { raft: { readIndex } as unknown as Raft, contexts };
}

const read = (requestId: number): Read => ({ requestId, method: 1, payload: new Uint8Array(0) });

function collect(): { ids: number[]; visit: (read: Read) => void } {
  const ids: number[] = [];
  return { ids, visit: ({ requestId }) => void ids.push(requestId) };
}

test('reads of one turn share a round and wait for its index', () => {
  const reads = new Reads(1);
  const { raft, contexts } = fakeRaft(() => 'accepted');
  reads.add(read(1));
  reads.add(read(2));
  reads.ask(raft, 0);
  reads.ask(raft, 1);
  assert.equal(contexts.length, 1);
  const { ids, visit } = collect();
  reads.serve(100, visit);
  assert.deepEqual(ids, [], 'not confirmed');
  reads.confirm(contexts[0] as number, 7);
  reads.serve(6, visit);
  assert.deepEqual(ids, [], 'not applied');
  reads.serve(7, visit);
  assert.deepEqual(ids, [1, 2]);
  reads.serve(8, visit);
  assert.deepEqual(ids, [1, 2]);
  assert.equal(reads.size, 0);
});

test('a retry has a context of its own, and an answer to the old one counts for nothing', () => {
  const reads = new Reads(1);
  const { raft, contexts } = fakeRaft(() => 'forwarded');
  reads.add(read(1));
  reads.ask(raft, 0);
  reads.ask(raft, 499);
  assert.equal(contexts.length, 1);
  reads.ask(raft, 500);
  assert.equal(contexts.length, 2);
  assert.notEqual(contexts[0], contexts[1]);
  reads.confirm(contexts[0] as number, 1);
  const { ids, visit } = collect();
  reads.serve(10, visit);
  assert.deepEqual(ids, []);
  reads.confirm(contexts[1] as number, 1);
  reads.serve(10, visit);
  assert.deepEqual(ids, [1]);
});

test('a leader change ends what was asked of the former leader, not what waits for one', () => {
  const reads = new Reads(1);
  let result: ProposalResult = 'accepted';
  const { raft } = fakeRaft(() => result);
  reads.add(read(1));
  reads.ask(raft, 0);
  result = 'dropped';
  reads.add(read(2));
  reads.ask(raft, 1);
  const { ids, visit } = collect();
  reads.leaderChanged(visit);
  assert.deepEqual(ids, [1]);
  assert.equal(reads.size, 1);
});

test('cancelled and expired reads leave', () => {
  const reads = new Reads(1);
  let result: ProposalResult = 'dropped';
  const { raft } = fakeRaft(() => result);
  reads.add(read(1));
  reads.ask(raft, 0);
  result = 'accepted';
  reads.add(read(2));
  reads.add(read(3));
  reads.ask(raft, 10);
  reads.cancel(3);
  const ended: [number, number][] = [];
  reads.expire(7009, 7000, (ending, error) => ended.push([ending.requestId, error]));
  assert.deepEqual(ended, [[1, EtcdErrorCode.Timeout]]);
  reads.expire(7010, 7000, (ending, error) => ended.push([ending.requestId, error]));
  assert.deepEqual(ended[1], [2, EtcdErrorCode.Timeout]);
  assert.equal(reads.size, 0);
});

test('an answer to a former incarnation’s question means nothing to the next', () => {
  const contextOf = (incarnation: number): number => {
    const reads = new Reads(incarnation);
    const { raft, contexts } = fakeRaft(() => 'forwarded');
    reads.add(read(1));
    reads.ask(raft, 0);
    return contexts[0] as number;
  };
  assert.notEqual(contextOf(1), contextOf(2));
  assert.ok(Number.isSafeInteger(contextOf(2 ** 20)));
});
