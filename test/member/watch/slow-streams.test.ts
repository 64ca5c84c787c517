/** Streams that do not read, large responses, a store that is replaced. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { streamCreditBytes } from '../../../src/transport/stream-credit.js';
import { bytesOf, describe, fromKey, type WatchResponse, WatchSubject } from './support.js';

const large = 'x'.repeat(100_000);

/** Revisions of the events in responses, by stream and watcher. */
class Seen {
  readonly mains = new Map<string, number[]>();
  readonly heads: string[] = [];

  readonly note = (streamId: number, response: WatchResponse): void => {
    const name = `${streamId}/${response.watch_id}`;
    const list = this.mains.get(name) ?? [];
    this.mains.set(name, list);
    for (const { kv } of response.events) list.push(Number(kv?.mod_revision));
    if (response.events.length === 0) this.heads.push(`${streamId}/${describe(response)}`);
  };

  of(name: string): string {
    return (this.mains.get(name) ?? []).join(' ');
  }
}

test('a stream without credit gets no events but answers; the others go on; what it lacks follows', () => {
  const seen = new Seen();
  const subject = new WatchSubject({ observe: seen.note });
  subject.open(1, 2);
  for (const streamId of [1, 2]) {
    subject.create(streamId, 'k');
    subject.create(streamId, 'j', { range_end: fromKey });
  }
  for (let main = 2; main <= 9; main += 1) {
    subject.put(['k', large]);
    subject.hub.deliver();
    subject.take(2);
    subject.settle();
  }
  assert.equal(seen.of('2/0'), '2 3 4 5 6 7 8 9');
  assert.equal(seen.of('2/1'), '2 3 4 5 6 7 8 9');
  // 256 KiB are two responses and a part of the third one.
  assert.equal(seen.of('1/0'), '2 3');
  assert.equal(seen.of('1/1'), '2');
  assert.ok(subject.outstanding.get(1)! < streamCreditBytes + large.length + 1000);
  assert.ok(!subject.hub.step(0, 100), 'nothing to do for a stream without credit');
  seen.heads.length = 0;
  subject.progress(1);
  subject.progress(2);
  subject.create(1, 'k', { start_revision: 3 });
  subject.cancel(1, 2n);
  assert.deepEqual(seen.heads, ['2/-1@9', '1/2@9 created', '1/2@9 canceled']);
  while ((subject.outstanding.get(1) ?? 0) > 50_000) {
    subject.take(1);
    subject.settle();
  }
  subject.put(['k', 'last']);
  subject.hub.deliver();
  for (const watcher of ['1/0', '1/1', '2/0', '2/1']) assert.equal(seen.of(watcher), '2 3 4 5 6 7 8 9 10');
  subject.progress(1);
  assert.equal(seen.heads.at(-1), '1/-1@10');
});

test('a watcher without credit that a compaction overtakes is cancelled when there is credit again', () => {
  const seen = new Seen();
  const subject = new WatchSubject({ observe: seen.note });
  subject.open(1);
  subject.create(1, 'k');
  for (let main = 2; main <= 8; main += 1) {
    subject.put(['k', large]);
    subject.hub.deliver();
  }
  assert.equal(seen.of('1/0'), '2 3 4');
  subject.compact(6);
  subject.settle();
  seen.heads.length = 0;
  subject.take(1);
  subject.settle();
  subject.put(['k', 'more']);
  subject.hub.deliver();
  assert.deepEqual(seen.heads, ['1/0@0 canceled compact=6']);
  assert.equal(seen.of('1/0'), '2 3 4');
});

test('a watcher whose next revision is the compact revision is not overtaken', () => {
  const seen = new Seen();
  const subject = new WatchSubject({ observe: seen.note });
  subject.open(1);
  subject.create(1, 'k');
  for (let main = 2; main <= 6; main += 1) {
    subject.put(['k', large]);
    subject.hub.deliver();
  }
  subject.compact(5);
  subject.take(1);
  subject.settle();
  assert.equal(seen.of('1/0'), '2 3 4 5 6');
});

test('large histories come in responses of about half the limit, revisions whole', () => {
  const sizes: number[][] = [];
  const subject = new WatchSubject({
    responseBytesMax: 400_000,
    observe: (_streamId, { events }) => {
      if (events.length > 0) sizes.push(events.map(({ kv }) => Number(kv?.mod_revision)));
      subject.take(1);
    },
  });
  subject.open(1);
  for (let main = 2; main <= 6; main += 1) subject.put(['a', large], ['b', large]);
  subject.put(['a', 'small']);
  subject.put(['a', 'small']);
  subject.create(1, 'a', { range_end: fromKey, start_revision: 1 });
  subject.settle(1_000);
  const each = [2, 3, 4, 5, 6].map(main => [main, main]);
  assert.deepEqual(sizes, [...each, [7, 8]]);
  sizes.length = 0;
  subject.create(1, 'a', { start_revision: 1 });
  subject.settle(1_000);
  assert.deepEqual(sizes.flat(), [2, 3, 4, 5, 6, 7, 8]);
  assert.ok(sizes.length > 2 && sizes.length < 7);
});

test('up to 1000 revisions a response', () => {
  const counts: number[] = [];
  const subject = new WatchSubject({ observe: (_streamId, { events }) => counts.push(events.length) });
  subject.open(1);
  for (let main = 2; main <= 2_501; main += 1) subject.put(['k', '']);
  subject.create(1, 'k', { start_revision: 1 });
  subject.create(1, 'k', { start_revision: 1, range_end: fromKey });
  subject.settle(100_000);
  assert.deepEqual(counts.sort(), [0, 0, 1000, 1000, 1000, 1000, 500, 500].sort());
});

test('a response that is too large is cut for those who asked, the last piece without the mark', () => {
  const pieces: string[] = [];
  const subject = new WatchSubject({
    responseBytesMax: 250_000,
    observe: (_streamId, response) => {
      if (response.events.length === 0) return;
      pieces.push(`${response.watch_id}: ${response.events.map(({ kv }) => kv?.key).join(' ')} ${response.fragment}`);
      subject.take(1);
    },
  });
  subject.open(1);
  subject.create(1, 'a', { range_end: fromKey, fragment: true });
  subject.create(1, 'a', { range_end: fromKey });
  subject.put(['a', large], ['b', large], ['c', large.repeat(3)], ['d', 's'], ['e', 's']);
  subject.hub.deliver();
  const [a, b, c, d, e] = [97, 98, 99, 100, 101];
  assert.deepEqual(pieces, [
    `0: ${a} ${b} true`,
    `0: ${c} true`,
    `0: ${d} ${e} false`,
    `1: ${a} ${b} ${c} ${d} ${e} false`,
  ]);
  pieces.length = 0;
  subject.create(1, 'a', { range_end: fromKey, fragment: true, start_revision: 1 });
  subject.put(['c', large.repeat(3)]);
  subject.settle();
  const expected = [`2: ${a} ${b} true`, `2: ${c} true`, `2: ${d} ${e} false`, `2: ${c} false`];
  assert.deepEqual(
    pieces.filter(piece => piece.startsWith('2')),
    expected,
  );
});

test('watchers behind at the same place share what is read', () => {
  const seen = new Seen();
  const subject = new WatchSubject({ observe: seen.note });
  const watchers = 2_000;
  for (let main = 2; main <= 50; main += 1) subject.put([`k${main % 10}`, 'v']);
  let scans = 0;
  const { scanRecords } = subject.store;
  subject.store.scanRecords = (from, visit) => {
    scans += 1;
    scanRecords.call(subject.store, from, visit);
  };
  for (let at = 0; at < watchers; at += 1) {
    subject.open(at);
    subject.create(at, `k${at % 10}`, { range_end: bytesOf(`k${at % 10}\0`), start_revision: 2 });
  }
  subject.settle(10);
  assert.equal(scans, 5, 'each record is read once');
  for (let at = 0; at < watchers; at += 1) {
    const expected = Array.from({ length: 49 }, (_, index) => index + 2).filter(main => main % 10 === at % 10);
    assert.equal(seen.of(`${at}/0`), expected.join(' '));
  }
});

test('a replaced store: every watcher goes on from where it was', () => {
  const subject = new WatchSubject();
  subject.open(1);
  subject.create(1, 'k');
  subject.create(1, 'k', { start_revision: 6, range_end: fromKey });
  subject.put(['k', '2']);
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1), ['0@1 created', '1@1 created', '0@2 k=2:2']);
  subject.put(['k', '3']);
  subject.replace(() => subject.put(['k', '4']));
  subject.progress(1);
  assert.deepEqual(subject.lines(1), []);
  subject.settle();
  assert.deepEqual(subject.lines(1), ['0@4 k=3:3 k=4:4']);
  subject.replace();
  subject.settle();
  subject.put(['k', '5']);
  subject.put(['k', '6']);
  subject.hub.deliver();
  subject.progress(1);
  assert.deepEqual(subject.lines(1).sort(), ['-1@6', '0@6 k=5:5 k=6:6', '1@6 k=6:6']);
});

test('a replaced store that is compacted beyond a watcher cancels it', () => {
  const subject = new WatchSubject();
  subject.open(1);
  subject.create(1, 'k');
  subject.put(['k', '2']);
  subject.hub.deliver();
  subject.replace(() => {
    for (let main = 3; main <= 6; main += 1) subject.put(['k', `${main}`]);
    subject.compact(5);
  });
  subject.settle();
  assert.deepEqual(subject.lines(1), ['0@1 created', '0@2 k=2:2', '0@0 canceled compact=5']);
});
