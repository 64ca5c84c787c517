import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoopShare } from '../../../src/host/http2/loop-share.js';

test('work is paid for with so many times as much rest, in whole milliseconds or more', () => {
  const share = new LoopShare(7);
  const stretches = [
    // [began, ended] -> rest
    [100, 100.1, 0],
    [100.1, 100.2, 1.4],
    [101.6, 101.7, 0], // it rested for all of that
    [101.7, 102.7, 7.7],
    [110.4, 110.5, 0],
    [500, 501, 7],
    [501, 502, 14], // it went on at once
  ] as const;
  const rests = stretches.map(([began, ended]) => Math.round(share.rest(began, ended) * 10) / 10);
  assert.deepEqual(
    rests,
    stretches.map(([, , rest]) => rest),
  );
});

test('time does not go back', () => {
  const share = new LoopShare(7);
  share.rest(100, 101);
  assert.throws(() => share.rest(100.5, 102), /time goes on/);
});
