import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WatchSubject } from './support.js';

/** The times at which the stream's watcher is notified, in steps of 10 ms up to `untilMs` after now. */
function ticks(subject: WatchSubject, untilMs: number): number[] {
  const start = subject.nowMs;
  const found: number[] = [];
  while (subject.nowMs < start + untilMs) {
    subject.nowMs += 10;
    subject.settle();
    if (subject.lines().length > 0) found.push(subject.nowMs - start);
  }
  return found;
}

test('a quiet watcher is notified every interval and up to a tenth more', () => {
  const subject = new WatchSubject({ progressNotifyIntervalMs: 10_000 });
  subject.open(1, 2);
  subject.create(1, 'k', { progress_notify: true });
  subject.create(2, 'k');
  subject.lines();
  const times = ticks(subject, 100_000);
  assert.ok(times.length === 9, `${times}`);
  times.forEach((at, index) => {
    const pauseMs = at - (times[index - 1] ?? 0);
    assert.ok(pauseMs >= 10_000 && pauseMs <= 11_000, `${pauseMs} ms`);
  });
});

test('who got an event since the last time is left out once; the revision is the current one', () => {
  const subject = new WatchSubject({ progressNotifyIntervalMs: 1_000 });
  subject.open(1);
  subject.create(1, 'a', { progress_notify: true });
  subject.create(1, 'b', { progress_notify: true });
  subject.create(1, 'b', { progress_notify: true, start_revision: 9 });
  subject.put(['a', 'v']);
  subject.settle();
  subject.lines();
  subject.nowMs += 1_100;
  subject.settle();
  assert.deepEqual(subject.lines(1), ['1@2']);
  subject.put(['c', 'v']);
  subject.nowMs += 1_100;
  subject.settle();
  assert.deepEqual(subject.lines(1), ['0@3', '1@3']);
  subject.cancel(1, 0n);
  subject.cancel(1, 1n);
  for (let main = 4; main <= 9; main += 1) subject.put(['c', 'v']);
  subject.nowMs += 1_100;
  subject.settle();
  assert.deepEqual(subject.lines(1), ['0@3 canceled', '1@3 canceled', '2@9']);
});

test('nobody is notified after a cancel or a close, and after a long pause once', () => {
  const subject = new WatchSubject({ progressNotifyIntervalMs: 1_000 });
  subject.open(1, 2, 3);
  for (const streamId of [1, 2, 3]) subject.create(streamId, 'k', { progress_notify: true });
  subject.cancel(1, 0n);
  subject.hub.close(2);
  subject.lines();
  subject.nowMs += 50_000;
  subject.settle();
  assert.deepEqual(subject.lines(), ['3/0@1']);
  subject.nowMs += 900;
  subject.settle();
  assert.deepEqual(subject.lines(), []);
  subject.nowMs += 200;
  subject.settle();
  assert.deepEqual(subject.lines(), ['3/0@1']);
});

test('very many due streams are notified in slices', () => {
  const subject = new WatchSubject({ progressNotifyIntervalMs: 1_000 });
  for (let streamId = 0; streamId < 1_000; streamId += 1) {
    subject.open(streamId);
    subject.create(streamId, 'k', { progress_notify: true });
  }
  subject.lines();
  subject.nowMs += 1_200;
  assert.ok(subject.hub.step(subject.nowMs, 10));
  const first = subject.lines().length;
  assert.ok(first > 0 && first < 1_000);
  subject.settle();
  assert.equal(first + subject.lines().length, 1_000);
});
