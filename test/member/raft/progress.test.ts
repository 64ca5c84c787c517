/** What the leader knows of a follower, and the window of appends on their way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inflights } from '../../../src/member/raft/inflights.js';
import { Progress, ProgressState } from '../../../src/member/raft/progress.js';

function progress(match: number, next: number, messagesMax = 8, bytesMax = Infinity): Progress {
  const made = new Progress(2n, false, next, new Inflights(messagesMax, bytesMax));
  made.reset(match, next);
  return made;
}

test('inflights are full by number or by bytes, whichever comes first', () => {
  const inflights = new Inflights(3, 100);
  inflights.add(1, 10);
  inflights.add(2, 10);
  assert.equal(inflights.full, false);
  inflights.add(3, 10);
  assert.equal(inflights.full, true);
  assert.throws(() => inflights.add(4, 1), { name: 'AssertionError' });
  inflights.freeUpTo(2);
  assert.deepEqual([inflights.count, inflights.bytes, inflights.full], [1, 10, false]);
  inflights.add(5, 500);
  assert.equal(inflights.full, true, 'one append may cross the limit of bytes');
  assert.throws(() => new Inflights(0, 1), { name: 'AssertionError' });
});

test('inflights: freeing is cumulative, and a reset forgets the bytes too (raft e419ba5)', () => {
  const inflights = new Inflights(1000, Infinity);
  for (let round = 0; round < 5000; round++) {
    inflights.add(round, 7);
    if (round % 3 === 2) inflights.freeUpTo(round - 1);
  }
  inflights.freeUpTo(0);
  assert.deepEqual([inflights.count, inflights.bytes], [3, 21], 'old acks free nothing more');
  assert.throws(() => inflights.add(10, 1), { name: 'AssertionError' }, 'indexes ascend');
  inflights.reset();
  assert.deepEqual([inflights.count, inflights.bytes, inflights.full], [0, 0, false]);
  inflights.freeUpTo(1 << 30);
  assert.deepEqual([inflights.count, inflights.bytes], [0, 0]);
});

test('probing sends one append and waits', () => {
  const follower = progress(0, 5);
  follower.sentEntries(2, 40);
  assert.deepEqual([follower.next, follower.isPaused(), follower.inflights.count], [5, true, 0]);
  follower.maybeUpdate(6);
  follower.becomeReplicate();
  assert.deepEqual([follower.match, follower.next, follower.isPaused()], [6, 7, false]);
});

test('replicating runs ahead until the window is full', () => {
  const follower = progress(4, 5, 2);
  follower.becomeReplicate();
  follower.sentEntries(3, 60);
  follower.sentEntries(1, 20);
  assert.deepEqual([follower.next, follower.isPaused()], [9, true]);
  assert.equal(follower.maybeUpdate(7), true);
  follower.inflights.freeUpTo(7);
  assert.equal(follower.maybeUpdate(7), false, 'old news');
  assert.deepEqual([follower.match, follower.next], [7, 9]);
});

test('a refusal moves next back, unless it is a late one', () => {
  const probing = progress(2, 9);
  assert.equal(probing.maybeDecrease(7, 5), false, 'not what was asked');
  assert.equal(probing.maybeDecrease(8, 5), true);
  assert.equal(probing.next, 6);
  assert.equal(probing.maybeDecrease(5, 0), true);
  assert.equal(probing.next, 3, 'never at or below match (raft#149)');

  const replicating = progress(4, 5);
  replicating.becomeReplicate();
  replicating.sentEntries(5, 100);
  assert.equal(replicating.maybeDecrease(4, 4), false, 'acked since');
  assert.equal(replicating.maybeDecrease(7, 4), true);
  assert.equal(replicating.next, 5);
});

test('a snapshot stops everything; afterwards probing starts behind it, or where it was', () => {
  const delivered = progress(3, 9);
  delivered.becomeSnapshot(7);
  assert.deepEqual([delivered.next, delivered.isPaused(), delivered.pendingSnapshot], [8, true, 7]);
  assert.throws(() => delivered.sentEntries(1, 1), { name: 'AssertionError' });
  delivered.becomeProbe();
  assert.deepEqual([delivered.state, delivered.next, delivered.pendingSnapshot], [ProgressState.Probe, 8, 0]);

  const failed = progress(3, 9);
  failed.becomeSnapshot(7);
  failed.abortSnapshot();
  assert.deepEqual([failed.state, failed.next, failed.paused], [ProgressState.Probe, 4, true]);
});

test('a commit index is worth an append of its own once, and only if it says something', () => {
  const follower = progress(5, 6);
  follower.becomeReplicate();
  assert.equal(follower.canBumpCommit(5), true);
  follower.sentCommitUpTo(5);
  assert.equal(follower.canBumpCommit(5), false);
  assert.equal(follower.canBumpCommit(9), false, 'it has nothing beyond 5');
  follower.sentEntries(2, 40);
  assert.equal(follower.canBumpCommit(9), true);
  follower.sentCommitUpTo(3);
  assert.equal(follower.sentCommit, 5);
});
