import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProtoError } from '../../../src/wire/proto.js';
import { bytesOf, fromKey, WatchSubject } from './support.js';

const NOPUT = 0;
const NODELETE = 1;

function subjectWith(...streamIds: readonly number[]): WatchSubject {
  const subject = new WatchSubject();
  subject.open(...(streamIds.length === 0 ? [1] : streamIds));
  return subject;
}

test('a watcher sees puts and deletions of its key from its creation on', () => {
  const subject = subjectWith();
  subject.put(['k', 'old']);
  subject.create(1, 'k');
  subject.put(['k', 'new']);
  subject.put(['other', 'x']);
  subject.hub.deliver();
  subject.remove('k');
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1), ['0@2 created', '0@3 k=new:3', '0@5 -k:5']);
});

test('several revisions of one turn share a response, a transaction keeps the order of its operations', () => {
  const subject = subjectWith();
  subject.create(1, 'a', { range_end: bytesOf('d') });
  subject.put(['c', '1'], ['a', '2'], ['d', 'no'], ['b', '3']);
  subject.put(['b', '4']);
  subject.remove('a', bytesOf('c'));
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1), ['0@1 created', '0@4 c=1:2 a=2:2 b=3:2 b=4:3 -a:4 -b:4']);
});

test('watchers of all kinds of ranges: one key, a range, a prefix from a key on, everything', () => {
  const subject = subjectWith();
  subject.create(1, 'b');
  subject.create(1, 'b', { range_end: bytesOf('c') });
  subject.create(1, 'b', { range_end: fromKey });
  subject.create(1, '', { range_end: fromKey });
  subject.create(1, '');
  subject.lines();
  for (const key of ['a', 'b', 'bb', 'c', '\0']) {
    subject.put([key, key]);
    subject.hub.deliver();
  }
  assert.deepEqual(subject.lines(1).sort(), [
    '0@3 b=b:3',
    '1@3 b=b:3',
    '1@4 bb=bb:4',
    '2@3 b=b:3',
    '2@4 bb=bb:4',
    '2@5 c=c:5',
    '3@2 a=a:2',
    '3@3 b=b:3',
    '3@4 bb=bb:4',
    '3@5 c=c:5',
    '3@6 \0=\0:6',
    '4@6 \0=\0:6',
  ]);
});

test('watchers with the same interest on many streams get one body', () => {
  const subject = subjectWith(1, 2, 3);
  for (const streamId of [1, 2, 3, 3]) subject.create(streamId, 'k');
  subject.create(3, 'k', { prev_kv: true });
  subject.lines();
  subject.sent = 0;
  subject.put(['k', 'v']);
  subject.hub.deliver();
  assert.equal(subject.sent, 2);
  assert.deepEqual(subject.lines(), ['1/0@2 k=v:2', '2/0@2 k=v:2', '3/0@2 k=v:2', '3/1@2 k=v:2', '3/2@2 k=v:2']);
});

test('prev_kv: the pair before, none for a creation, none when it is compacted away', () => {
  const subject = subjectWith();
  subject.create(1, 'a', { prev_kv: true, range_end: fromKey });
  subject.create(1, 'b', { prev_kv: true });
  subject.put(['b', '1']);
  subject.put(['b', '2']);
  subject.remove('b');
  subject.put(['b', '3']);
  subject.hub.deliver();
  subject.create(1, 'b', { prev_kv: true, start_revision: 2 });
  subject.create(1, 'a', { prev_kv: true, start_revision: 2, range_end: fromKey });
  subject.settle();
  const events = 'b=1:2 b=2:3(was 1) -b:4(was 2) b=3:5';
  assert.deepEqual(subject.lines(1), [
    '0@1 created',
    '1@1 created',
    `1@5 ${events}`,
    `0@5 ${events}`,
    '2@5 created',
    '3@5 created',
    `2@5 ${events}`,
    `3@5 ${events}`,
  ]);
  subject.put(['b', '4']);
  // Compacted is what reads may not see any more, its records may still be there.
  for (const watchId of [4, 5]) {
    if (watchId === 4) subject.compact(3, false);
    else while (subject.background.step(1));
    subject.create(1, 'b', { prev_kv: true, start_revision: 3 });
    subject.settle();
    assert.equal(subject.lines(1).at(-1), `${watchId}@6 b=2:3 -b:4(was 2) b=3:5 b=4:6(was 3)`);
  }
});

test('filters drop events; a response without any is not sent', () => {
  const subject = subjectWith();
  subject.create(1, 'k', { filters: [NOPUT] });
  subject.create(1, 'k', { filters: [NODELETE], start_revision: 1 });
  subject.create(1, 'k', { filters: [NOPUT, NODELETE] });
  subject.settle();
  subject.lines();
  subject.put(['k', 'v']);
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1), ['1@2 k=v:2']);
  subject.remove('k');
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1), ['0@3 -k:3']);
  subject.create(1, 'k', { filters: [NOPUT], start_revision: 1 });
  subject.create(1, 'k', { filters: [NODELETE], start_revision: 1, range_end: fromKey });
  subject.settle();
  assert.deepEqual(subject.lines(1), ['3@3 created', '4@3 created', '3@3 -k:3', '4@3 k=v:2']);
});

test('watch ids: counted from 0, those of the client skipped, cancelled ones free for the client only', () => {
  const subject = subjectWith();
  for (const watch_id of [0n, 2n, 0n, 0n, 2n, -7n]) subject.create(1, 'k', { watch_id });
  subject.cancel(1, 2n);
  subject.cancel(1, 2n);
  subject.cancel(1, 99n);
  subject.create(1, 'k', { watch_id: 2n });
  subject.cancel(1, 0n);
  subject.create(1, 'k');
  assert.deepEqual(subject.lines(1), [
    '0@1 created',
    '2@1 created',
    '1@1 created',
    '3@1 created',
    '-1@1 created canceled mvcc: duplicate watch ID provided on the WatchStream',
    '-7@1 created',
    '2@1 canceled',
    '2@1 created',
    '0@1 canceled',
    '4@1 created',
  ]);
});

test('refused: empty ranges and negative start revisions; nothing remains of them', () => {
  const subject = subjectWith();
  subject.create(1, 'b', { range_end: bytesOf('b') });
  subject.create(1, 'b', { range_end: bytesOf('a') });
  subject.create(1, 'b', { start_revision: -1 });
  subject.progress(1);
  assert.deepEqual(subject.lines(1), [
    '-1@1 created canceled mvcc: watcher range is empty',
    '-1@1 created canceled mvcc: watcher range is empty',
    '-1@1 created canceled etcdserver: mvcc: required revision has been compacted',
  ]);
});

test('history from a start revision on, then live; nothing missing, nothing twice', () => {
  for (const recordsMax of [1, 2, 100]) {
    const subject = subjectWith();
    for (let at = 2; at <= 7; at += 1) subject.put(['k', `${at}`], ['l', `${at}`]);
    subject.create(1, 'k', { start_revision: 3 });
    subject.create(1, 'k', { start_revision: 7, range_end: fromKey });
    subject.settle(recordsMax);
    subject.put(['k', '8']);
    subject.hub.deliver();
    const events = subject.lines(1).flatMap(line =>
      line
        .split(' ')
        .slice(1)
        .map(event => `${line[0]} ${event}`),
    );
    assert.deepEqual(events.sort(), [
      '0 created',
      '0 k=3:3',
      '0 k=4:4',
      '0 k=5:5',
      '0 k=6:6',
      '0 k=7:7',
      '0 k=8:8',
      '1 created',
      '1 k=7:7',
      '1 k=8:8',
      '1 l=7:7',
    ]);
  }
});

test('watchers of one interest at different places of one piece of history', () => {
  const subject = subjectWith();
  for (let at = 2; at <= 6; at += 1) subject.put(['k', `${at}`]);
  for (const start_revision of [3, 5, 5, 2]) subject.create(1, 'k', { range_end: fromKey, start_revision });
  subject.lines();
  subject.settle();
  const last = 'k=5:5 k=6:6';
  assert.deepEqual(subject.lines(1), [
    `0@6 k=3:3 k=4:4 ${last}`,
    `1@6 ${last}`,
    `2@6 ${last}`,
    `3@6 k=2:2 k=3:3 k=4:4 ${last}`,
  ]);
});

test('a start revision in the future: nothing below it', () => {
  const subject = subjectWith();
  subject.create(1, 'k', { start_revision: 4 });
  subject.create(1, 'k');
  subject.lines();
  subject.put(['k', '2']);
  subject.hub.deliver();
  subject.progress(1);
  assert.deepEqual(subject.lines(1), ['1@2 k=2:2']);
  subject.put(['k', '3']);
  subject.put(['k', '4']);
  subject.put(['k', '5']);
  subject.hub.deliver();
  subject.progress(1);
  assert.deepEqual(subject.lines(1).sort(), ['-1@5', '0@5 k=4:4 k=5:5', '1@5 k=3:3 k=4:4 k=5:5']);
});

test('a start below the compact revision: created, then cancelled; the id lives on until the client cancels it', () => {
  const subject = subjectWith();
  for (let at = 2; at <= 6; at += 1) subject.put(['k', `${at}`]);
  subject.compact(5);
  subject.create(1, 'k', { start_revision: 4 });
  subject.create(1, 'k', { start_revision: 5, range_end: fromKey });
  subject.create(1, 'k', { start_revision: 5 });
  assert.deepEqual(subject.lines(1), ['0@6 created', '1@6 created', '2@6 created']);
  subject.settle();
  assert.deepEqual(subject.lines(1), ['0@0 canceled compact=5', '1@6 k=5:5 k=6:6', '2@6 k=5:5 k=6:6']);
  subject.progress(1);
  subject.create(1, 'k', { watch_id: 0n });
  subject.put(['k', '7']);
  subject.hub.deliver();
  assert.deepEqual(subject.lines(1).sort(), ['1@7 k=7:7', '2@7 k=7:7', '3@6 created', '3@7 k=7:7']);
  subject.cancel(1, 0n);
  subject.progress(1);
  assert.deepEqual(subject.lines(1), ['0@7 canceled', '-1@7']);
});

test('progress requests: answered only when everything is sent and somebody watches', () => {
  const subject = subjectWith();
  subject.progress(1);
  assert.deepEqual(subject.lines(1), []);
  subject.put(['k', 'v']);
  subject.create(1, 'k', { start_revision: 2 });
  subject.progress(1);
  assert.deepEqual(subject.lines(1), ['0@2 created']);
  subject.settle();
  subject.put(['k', 'w']);
  subject.progress(1);
  assert.deepEqual(subject.lines(1), ['0@2 k=v:2', '0@3 k=w:3', '-1@3']);
  subject.create(1, 'k', { start_revision: 10 });
  subject.progress(1);
  subject.cancel(1, 1n);
  subject.progress(1);
  assert.deepEqual(subject.lines(1), ['1@3 created', '1@3 canceled', '-1@3']);
});

test('requests of no kind and streams that are not open are ignored, what is no message is refused', () => {
  const subject = subjectWith();
  subject.hub.request(1, new Uint8Array(0), 0);
  subject.hub.request(1, Buffer.from('220108', 'hex'), 0);
  subject.hub.request(9, new Uint8Array(0), 0);
  subject.hub.close(9);
  subject.hub.credit(9, 5);
  assert.throws(() => subject.hub.request(1, Buffer.from('0a05', 'hex'), 0), ProtoError);
  assert.deepEqual(subject.lines(1), []);
});

test('a closed stream gets nothing more; others go on', () => {
  const subject = subjectWith(1, 2);
  subject.put(['k', 'v']);
  for (const streamId of [1, 2]) {
    subject.create(streamId, 'k', { progress_notify: true });
    subject.create(streamId, 'k', { start_revision: 1 });
  }
  subject.hub.close(1);
  subject.lines();
  subject.settle();
  subject.put(['k', 'w']);
  subject.hub.deliver();
  assert.deepEqual(subject.lines(), ['2/1@2 k=v:2', '2/0@3 k=w:3', '2/1@3 k=w:3']);
});
