/** The oracle itself: what it calls served wrongly, refused wrongly, and what it leaves open. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rights, type State } from './rights.js';

const may: State = { enabled: true, allowed: new Set(['ann']), password: 0 };
const mayNot: State = { ...may, allowed: new Set() };

test('a call is judged by every state that may have been in force while it ran', () => {
  const rights = new Rights(may);
  const before = { begun: rights.tick(), ended: rights.tick() };
  const overlapping = rights.tick();
  const done = rights.change(mayNot);
  const during = { begun: rights.tick(), ended: rights.tick() };
  done();
  const after = { begun: rights.tick(), ended: rights.tick() };
  assert.deepEqual(rights.possible(before), [may]);
  assert.deepEqual(rights.possible({ begun: overlapping, ended: during.ended }), [may, mayNot]);
  assert.deepEqual(rights.possible(during), [may, mayNot], 'asked for, not yet acknowledged');
  assert.deepEqual(rights.possible(after), [mayNot], 'what begins after the acknowledgement must be refused');
  assert.deepEqual(rights.possible({ begun: before.begun, ended: Infinity }), [may, mayNot], 'nobody heard of its end');
});

test('a token is void for what begins after the acknowledgement, good for what ends before the request', () => {
  const rights = new Rights(may);
  const given = { begun: rights.tick(), ended: rights.tick() };
  const before = { begun: rights.tick(), ended: rights.tick() };
  const done = rights.change(may, user => user === 'ann');
  const during = { begun: rights.tick(), ended: rights.tick() };
  done();
  const after = { begun: rights.tick(), ended: rights.tick() };
  const judged = [before, during, after].map(used => [
    rights.isVoid('ann', given, used),
    rights.isGood('ann', given, used),
    rights.isVoid('ben', given, used),
  ]);
  assert.deepEqual(judged, [
    [false, true, false],
    [false, false, false],
    [true, false, false],
  ]);
  assert.equal(rights.isVoid('ann', during, after), false, 'it may have been given after the change');
});
