import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import { CELL_TAIL, CONTROL_BYTES, createLink, type LinkBuffers } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';
import { assertMessage, message, type Received, recordInto } from './support.js';

const SMALL = 1024;
const bell = new Doorbell(createDoorbell());

function attachSender(link: LinkBuffers, incarnation: number): Sender {
  return new Sender({ link, incarnation, doorbell: bell });
}

function attachReceiver(link: LinkBuffers, incarnation: number): Receiver {
  return new Receiver({ link, incarnation, doorbell: bell });
}

function drain(receiver: Receiver): Received[] {
  const received: Received[] = [];
  receiver.drain(recordInto(received), 1e9);
  return received;
}

function ids(received: readonly Received[]): number[] {
  return received.map(({ id }) => id);
}

test('the first consumer gets what was sent before it attached', () => {
  const link = createLink(SMALL);
  const sender = attachSender(link, 1);
  sender.send(EnvelopeKind.Message, 0, 1, message(1, 10));
  sender.send(EnvelopeKind.Message, 0, 2, message(2, 2000));
  sender.flush();
  const receiver = attachReceiver(link, 1);
  const received = drain(receiver);
  while (sender.backlogBytes > 0) {
    sender.flush();
    received.push(...drain(receiver));
  }
  assert.deepEqual(ids(received), [1, 2]);
});

test('a restarted consumer gets nothing that was sent before: neither from the ring nor from the backlog', () => {
  const link = createLink(SMALL);
  const sender = attachSender(link, 1);
  const first = attachReceiver(link, 1);
  // 1 is in the ring, 2 partly in the ring and half assembled, 3 waits in memory.
  sender.send(EnvelopeKind.Message, 0, 1, message(1, 10));
  sender.send(EnvelopeKind.Message, 0, 2, message(2, 2000));
  sender.send(EnvelopeKind.Message, 0, 3, message(3, 10));
  sender.flush();
  assert.deepEqual(ids(drain(first)), [1]);
  sender.flush();
  sender.send(EnvelopeKind.Message, 0, 4, message(4, 10));

  const second = attachReceiver(link, 2);
  sender.send(EnvelopeKind.Message, 0, 5, message(5, 2000));
  const received = drain(second);
  while (sender.backlogBytes > 0) {
    sender.flush();
    received.push(...drain(second));
  }
  assert.deepEqual(ids(received), [5]);
  assertMessage(received[0], 5, 2000);
  assert.equal(sender.abandonedMessages, 3);
});

test('what a sender puts into the ring for a consumer that has just been replaced is counted as stale', () => {
  const link = createLink(SMALL);
  const sender = attachSender(link, 1);
  attachReceiver(link, 1);
  // Written for the first consumer, but published only after the second has attached.
  sender.send(EnvelopeKind.Message, 0, 1, message(1, 10));
  sender.send(EnvelopeKind.Message, 0, 2, message(2, 300));
  const second = attachReceiver(link, 2);
  sender.send(EnvelopeKind.Message, 0, 3, message(3, 10));
  sender.flush();
  assert.deepEqual(ids(drain(second)), [3]);
  assert.equal(second.staleRecords, 1 + Math.ceil(300 / 88));
  assert.equal(second.abandonedMessages, 0);
});

test('messages sent before anybody attached are for the first consumer only', () => {
  const link = createLink(SMALL);
  const sender = attachSender(link, 1);
  for (let id = 0; id < 100; id++) sender.send(EnvelopeKind.Message, 0, id, message(id, 40));
  sender.flush();
  attachReceiver(link, 1);
  const second = attachReceiver(link, 2);
  const received: Received[] = [];
  while (sender.backlogBytes > 0) {
    sender.flush();
    received.push(...drain(second));
  }
  sender.send(EnvelopeKind.Message, 0, 100, message(100, 40));
  sender.flush();
  assert.deepEqual(ids([...received, ...drain(second)]), [100]);
  assert.ok(second.staleRecords > 80);
});

test('a restarted producer goes on behind the last published record, over what was left half written', () => {
  const link = createLink(SMALL);
  const receiver = attachReceiver(link, 1);
  const first = attachSender(link, 1);
  first.send(EnvelopeKind.Message, 0, 1, message(1, 10));
  first.flush();
  assert.deepEqual(ids(drain(receiver)), [1]);
  first.send(EnvelopeKind.Message, 0, 2, message(2, 80)); // Written, never published.
  const second = attachSender(link, 2);
  second.send(EnvelopeKind.Message, 0, 3, message(3, 10));
  second.flush();
  const received = drain(receiver);
  assert.deepEqual(ids(received), [3]);
  assertMessage(received[0], 3, 10);
});

test('garbage beyond the tail is never read', () => {
  const link = createLink(SMALL);
  const receiver = attachReceiver(link, 1);
  new Uint8Array(link.memory, CONTROL_BYTES).fill(0xee);
  assert.deepEqual(drain(receiver), []);
  const sender = attachSender(link, 1);
  for (let id = 0; id < 50; id++) {
    sender.send(EnvelopeKind.Message, 0, id, message(id, 55));
    sender.flush();
    assertMessage(drain(receiver)[0], id, 55);
  }
});

test('records of an older producer than the newest attached are dropped and counted', () => {
  const link = createLink(SMALL);
  const receiver = attachReceiver(link, 1);
  const first = attachSender(link, 1);
  for (let id = 1; id <= 3; id++) first.send(EnvelopeKind.Raft, 0, id, message(id, 10));
  first.flush();
  const second = attachSender(link, 2);
  assert.deepEqual(ids(drain(receiver)), [], 'they are stale from the moment the new producer attaches');
  assert.equal(receiver.staleRecords, 3);
  second.send(EnvelopeKind.Raft, 0, 4, message(4, 10));
  second.flush();
  assert.deepEqual(ids(drain(receiver)), [4]);
  assert.equal(receiver.staleRecords, 3);
});

test('a new producer in the middle of a fragmented message: the half is given up, the next message is whole', () => {
  for (const delivered of [1, 6]) {
    const link = createLink(SMALL);
    const receiver = attachReceiver(link, 1);
    const first = attachSender(link, 1);
    first.send(EnvelopeKind.SnapshotChunk, 0, 1, message(1, 3000));
    first.flush();
    // With 1 record taken the rest of what was published is stale; with 6 nothing of the old producer is left.
    assert.equal(
      receiver.drain(() => assert.fail('no message is whole'), delivered),
      delivered,
    );
    const second = attachSender(link, 2);
    const received: Received[] = [];
    second.send(EnvelopeKind.SnapshotChunk, 0, 2, message(2, 3000));
    do {
      second.flush();
      received.push(...drain(receiver));
    } while (second.backlogBytes > 0);
    received.push(...drain(receiver));
    assert.deepEqual(ids(received), [2]);
    assertMessage(received[0], 2, 3000);
    assert.equal(receiver.abandonedMessages, 1);
    assert.equal(receiver.staleRecords, 6 - delivered);
  }
});

test('both ends restart', () => {
  const link = createLink(SMALL);
  for (let life = 1; life <= 20; life++) {
    const receiver = attachReceiver(link, life);
    const sender = attachSender(link, life);
    sender.send(EnvelopeKind.Message, 0, life, message(life, 30 * life));
    sender.flush();
    const received = drain(receiver);
    while (sender.backlogBytes > 0) {
      sender.flush();
      received.push(...drain(receiver));
    }
    assert.deepEqual(ids(received), [life]);
    // Left behind for the next life to step over.
    sender.send(EnvelopeKind.Message, 0, 1000, message(1000, 500));
    sender.flush();
    receiver.drain(() => {}, life % 5);
  }
});

test('one end of a link has one owner: an incarnation must be newer than the last', () => {
  const link = createLink(SMALL);
  attachSender(link, 3);
  attachReceiver(link, 2);
  assert.throws(() => attachSender(link, 3), /share one end/);
  assert.throws(() => attachReceiver(link, 2), /share one end/);
  assert.throws(() => attachReceiver(link, 2 ** 31), /share one end/);
  assert.throws(() => attachSender(createLink(SMALL), 0), /share one end/);
});

test('a producer that attaches to a damaged link refuses', () => {
  const link = createLink(SMALL);
  new Int32Array(link.memory)[CELL_TAIL] = -8;
  assert.throws(() => attachSender(link, 1), /tail - head/);
});
