import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import { EnvelopeKind, FLAG_END, FLAGS_MAX } from '../../src/transport/envelope.js';
import {
  CELL_HEAD,
  CELL_TAIL,
  CONTROL_BYTES,
  createLink,
  fragmentBytesMax,
  HEADER_BYTES,
  MESSAGE_BYTES_MAX,
} from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { assertMessage, createPair, message, type Received, recordInto } from './support.js';

const SMALL = 1024;
const NOTHING = new Uint8Array(0);

test('every field of a record survives', () => {
  const { sender, received, drain } = createPair(SMALL);
  sender.send(EnvelopeKind.Open, 0xffff, 0xffff_ffff, message(1, 10), message(2, 3), FLAG_END);
  assert.ok(sender.trySend(255, 0, 0, NOTHING, NOTHING, FLAGS_MAX));
  assert.equal(drain(), 0, 'nothing is visible before flush');
  sender.flush();
  assert.equal(drain(), 2);
  const payload = new Uint8Array([...message(2, 3), ...message(1, 10)]);
  assert.deepEqual(received, [
    { kind: EnvelopeKind.Open, aux: 0xffff, id: 0xffff_ffff, flags: FLAG_END, payload },
    { kind: 255, aux: 0, id: 0, flags: FLAGS_MAX, payload: NOTHING },
  ]);
  assert.equal(drain(), 0);
});

test('every offset in the ring times every size, in one record and in fragments', () => {
  for (let offset = 0; offset < SMALL; offset += 8) {
    for (let length = 0; length <= 300; length++) {
      // Counters start close to 2^32, so that some of the runs cross it.
      const { sender, received, drain } = createPair(SMALL, 2 ** 32 - SMALL + offset);
      sender.send(EnvelopeKind.Message, 0, 1, message(1, length, length & 7));
      assert.ok(sender.trySend(EnvelopeKind.Raft, 0, 2, message(2, length % 100)));
      sender.flush();
      drain();
      assert.equal(received.length, 2);
      assertMessage(received[0], 1, length);
      assertMessage(received[1], 2, length % 100);
    }
  }
});

test('every fill of the ring is reached, and every message that does not fit is refused whole', () => {
  const largest = fragmentBytesMax(SMALL);
  for (let offset = 0; offset < SMALL; offset += 8) {
    for (const length of [0, 1, 40, largest, largest + 1, 2 * largest, SMALL / 2]) {
      const { link, sender, received, drain } = createPair(SMALL, offset);
      let sent = 0;
      while (sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, length))) sent += 1;
      assert.ok(sent > 0, `an empty ring holds ${length} bytes at offset ${offset}`);
      assert.equal(sender.droppedMessages, 1);
      const control = new Int32Array(link.memory, 0, CONTROL_BYTES / 4);
      const used = control[CELL_TAIL]! - control[CELL_HEAD]!;
      assert.ok(used <= SMALL && used + SMALL / 4 + 2 * length + HEADER_BYTES * 8 > SMALL, `used ${used}`);
      drain();
      assert.equal(received.length, sent);
      for (let id = 0; id < sent; id++) assertMessage(received[id], id, length);
      assert.ok(sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, length)), 'there is room again');
    }
  }
});

test('counters cross 2^32 and 2^31 under load', () => {
  for (const counter of [2 ** 32 - 4096, 2 ** 31 - 4096]) {
    const { sender, received, drain } = createPair(SMALL, counter);
    for (let id = 0; id < 400; id++) {
      sender.send(EnvelopeKind.Message, 0, id, message(id, id % 70));
      sender.flush();
      if (id % 3 === 2) drain();
    }
    while (sender.backlogBytes > 0) {
      sender.flush();
      drain();
    }
    drain();
    assert.equal(received.length, 400);
    for (let id = 0; id < 400; id++) assertMessage(received[id], id, id % 70);
  }
});

test('what does not fit waits in memory, in order, and leaves room for lossy messages', () => {
  const { sender, received, drain } = createPair(SMALL);
  for (let id = 0; id < 1000; id++) sender.send(EnvelopeKind.Message, 0, id, message(id, 50));
  sender.flush();
  const waiting = sender.backlogBytes;
  assert.ok(waiting > 900 * 50);
  assert.ok(sender.trySend(EnvelopeKind.Raft, 0, 5000, message(5000, 60)), 'a quarter of the ring is left');
  let rounds = 0;
  for (; sender.backlogBytes > 0; rounds++) {
    drain();
    sender.flush();
  }
  drain();
  assert.ok(rounds > 50, 'it went through the ring piece by piece');
  assertMessage(
    received.find(({ kind }) => kind === EnvelopeKind.Raft),
    5000,
    60,
  );
  const lossless = received.filter(({ kind }) => kind === EnvelopeKind.Message);
  assert.equal(lossless.length, 1000);
  for (let id = 0; id < 1000; id++) assertMessage(lossless[id], id, 50);
});

test('the caller may reuse its buffers at once, also for messages that wait', () => {
  const { sender, received, drain } = createPair(SMALL);
  const payload = new Uint8Array(100);
  const prefix = new Uint8Array(5);
  for (let id = 0; id < 100; id++) {
    payload.fill(id);
    prefix.fill(id + 1);
    sender.send(EnvelopeKind.Message, 0, id, payload, prefix);
  }
  payload.fill(255);
  prefix.fill(255);
  while (sender.backlogBytes > 0) {
    sender.flush();
    drain();
  }
  drain();
  assert.equal(received.length, 100);
  for (const { id, payload: bytes } of received) {
    assert.ok(bytes.length === 105 && bytes.every((byte, at) => byte === (at < 5 ? id + 1 : id)));
  }
});

test('a message many times as large as the ring passes whole', () => {
  const { sender, received, drain } = createPair(SMALL);
  sender.send(EnvelopeKind.SnapshotChunk, 3, 7, message(7, 200_000, 5), new Uint8Array(0));
  sender.send(EnvelopeKind.Message, 0, 8, NOTHING);
  while (sender.backlogBytes > 0) {
    sender.flush();
    drain();
  }
  drain();
  assert.equal(received.length, 2);
  assertMessage(received[0], 7, 200_000);
  assertMessage(received[1], 8, 0);
});

test('a message of 32 MiB passes through a ring of 1 MiB, and one beyond the limit is refused', () => {
  const { sender, receiver } = createPair(1 << 20);
  const whole = Buffer.alloc(32 << 20);
  for (let at = 0; at < whole.length; at += 4099) whole[at] = at >> 12;
  sender.send(EnvelopeKind.Message, 0, 1, whole);
  let arrived = false;
  while (!arrived) {
    sender.flush();
    receiver.drain((_kind, _aux, _id, payload) => {
      arrived = true;
      assert.equal(Buffer.compare(payload, whole), 0);
    }, 100);
  }
  assert.equal(sender.backlogBytes, 0);
  // The memory is never touched, so that it costs nothing.
  const tooLong = Buffer.allocUnsafeSlow(MESSAGE_BYTES_MAX);
  assert.throws(() => sender.send(EnvelopeKind.Message, 0, 2, tooLong, message(2, 1)), /too long/);
  assert.throws(() => sender.trySend(EnvelopeKind.Message, 0, 2, tooLong, message(2, 1)), /too long/);
});

test('a prefix of any length is joined with its payload, across fragments, too', () => {
  const whole = message(9, 600);
  const { sender, received, drain } = createPair(4096);
  for (let split = 0; split <= whole.length; split++) {
    const [prefix, payload] = [whole.subarray(0, split), whole.subarray(split)];
    if (split % 2 === 0) sender.send(EnvelopeKind.Message, 0, 9, payload, prefix);
    else assert.ok(sender.trySend(EnvelopeKind.Message, 0, 9, payload, prefix));
    sender.flush();
    drain();
    assertMessage(received.pop(), 9, whole.length);
  }
});

test('a lossy message longer than the ring waits, one at a time', () => {
  const { sender, received, drain } = createPair(SMALL);
  assert.ok(sender.trySend(EnvelopeKind.Raft, 0, 1, message(1, 5000)));
  assert.ok(!sender.trySend(EnvelopeKind.Raft, 0, 2, message(2, 5000)), 'only when nothing else waits');
  assert.ok(sender.trySend(EnvelopeKind.Raft, 0, 3, message(3, 100)), 'short ones go between its fragments');
  while (sender.backlogBytes > 0) {
    sender.flush();
    drain();
  }
  drain();
  assert.deepEqual(
    received.map(({ id }) => id),
    [3, 1],
  );
  assertMessage(received[1], 1, 5000);
});

test('fragmented messages of the two lanes interleave', () => {
  const { sender, received, drain } = createPair(4096);
  sender.send(EnvelopeKind.SnapshotChunk, 0, 1, message(1, 20_000));
  for (let id = 2; sender.backlogBytes > 0; id++) {
    assert.ok(sender.trySend(EnvelopeKind.Raft, 0, id, message(id, 900)));
    sender.flush();
    drain();
  }
  drain();
  const lossy = received.filter(({ kind }) => kind === EnvelopeKind.Raft);
  assert.ok(lossy.length > 3);
  for (const { id } of lossy) assertMessage(lossy[id - 2], id, 900);
  assertMessage(
    received.find(({ id }) => id === 1),
    1,
    20_000,
  );
});

test('a drain stops after recordsMax records and gives their room back', () => {
  const { sender, received, drain } = createPair(SMALL);
  let sent = 0;
  while (sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, 30))) sent += 1;
  assert.equal(drain(3), 3);
  assert.equal(received.length, 3);
  assert.ok(sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, 30)));
  sender.flush();
  assert.equal(drain(1000), sent - 2);
});

test('a drain stops behind bytesMax, and says whether the ring may hold more', () => {
  const { sender, receiver, received } = createPair(SMALL);
  for (let id = 0; id < 4; id++) sender.send(EnvelopeKind.Raft, 0, id, message(id, 32));
  sender.flush();
  const drain = (bytesMax: number): number => receiver.drain(recordInto(received), 1000, 0, bytesMax);
  assert.deepEqual([drain(65), receiver.more], [2, true]);
  assert.deepEqual([drain(64), receiver.more], [1, true]);
  assert.deepEqual([drain(65), receiver.more], [1, false]);
  assert.deepEqual([drain(1), receiver.more], [0, false]);
});

test('the sender knows what was not taken, and is rung when it is if it asked for that', () => {
  const { sender, drain, senderBell } = createPair(SMALL);
  assert.equal(sender.untakenBytes, 0);
  sender.send(EnvelopeKind.Reply, 0, 1, message(1, 8));
  assert.equal(sender.untakenBytes, HEADER_BYTES + 8);
  sender.send(EnvelopeKind.Reply, 0, 2, message(2, 2 * SMALL));
  assert.ok(sender.untakenBytes > 2 * SMALL, 'what waits in memory, too');
  sender.flush();
  while (sender.untakenBytes > 0) {
    drain();
    sender.flush();
  }
  assert.equal(senderBell.wait(0), undefined, 'it waited for room');
  sender.send(EnvelopeKind.Reply, 0, 3, message(3, 8));
  sender.flush();
  drain();
  assert.ok(senderBell.wait(0) !== undefined, 'there was room, and nobody asked');
  senderBell.wake();
  sender.send(EnvelopeKind.Reply, 0, 4, message(4, 8));
  sender.flush();
  sender.ringWhenTaken();
  drain();
  assert.equal(senderBell.wait(0), undefined);
});

test('messages in pieces have memory of their own, but for kinds that are borrowed', () => {
  const { link, sender, senderBell } = createPair(SMALL);
  const borrows = (kind: number): boolean => kind === EnvelopeKind.Reply;
  const receiver = new Receiver({ link, incarnation: 2, doorbell: senderBell, borrows });
  const seen: Received[] = [];
  const take = (kind: number, id: number, bytes: number): Uint8Array => {
    sender.send(kind, 0, id, message(id, bytes));
    sender.flush();
    const { length } = seen;
    while (seen.length === length) {
      const keep = (kind: number, aux: number, id: number, payload: Uint8Array, flags: number): void => {
        assertMessage({ kind, aux, id, payload, flags }, id, bytes);
        seen.push({ kind, aux, id, payload, flags });
      };
      receiver.drain(keep, 1000);
      sender.flush();
    }
    return (seen.at(-1) as Received).payload;
  };
  const kept = take(EnvelopeKind.Message, 1, 3 * SMALL);
  const first = take(EnvelopeKind.Reply, 2, 3 * SMALL);
  const shorter = take(EnvelopeKind.Reply, 3, 2 * SMALL);
  assert.equal(shorter.buffer, first.buffer);
  const longer = take(EnvelopeKind.Reply, 4, 4 * SMALL);
  assert.notEqual(longer.buffer, first.buffer);
  assert.notEqual(take(EnvelopeKind.Message, 5, SMALL).buffer, longer.buffer);
  assert.equal(take(EnvelopeKind.Reply, 6, 3 * SMALL).buffer, longer.buffer);
  assert.equal(Buffer.compare(kept, message(1, 3 * SMALL)), 0);
});

test('a long drain gives room back on its way', () => {
  const { sender, receiver } = createPair(SMALL);
  let sent = 0;
  while (sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, 30))) sent += 1;
  const taken: number[] = [];
  receiver.drain((_kind, _aux, id) => {
    taken.push(id);
    // The handler's thread is the producer's here: it can refill only if the head has moved in the middle of the drain.
    if (sent < 1000 && sender.trySend(EnvelopeKind.Raft, 0, sent, message(sent, 30))) {
      sent += 1;
      sender.flush();
    }
  }, 2000);
  assert.ok(sent > 100);
  assert.deepEqual(
    taken,
    taken.map((_, at) => at),
  );
});

test('a handler that throws has taken its message, and the next drain goes on behind it', () => {
  const { sender, receiver, received, drain } = createPair(SMALL);
  for (let id = 0; id < 5; id++) sender.send(EnvelopeKind.Message, 0, id, message(id, 20));
  sender.send(EnvelopeKind.Message, 0, 5, message(5, 500));
  sender.flush();
  const throwing = (_kind: number, _aux: number, id: number) => {
    if (id === 2 || id === 5) throw new Error(`no ${id}`);
  };
  assert.throws(() => receiver.drain(throwing, 100), /no 2/);
  assert.equal(receiver.drain(throwing, 2), 2);
  sender.flush();
  assert.throws(() => receiver.drain(throwing, 100), /no 5/);
  sender.send(EnvelopeKind.Message, 0, 6, message(6, 500));
  sender.flush();
  drain();
  assert.deepEqual(
    received.map(({ id }) => id),
    [6],
  );
});

test('a handler may not drain its own link', () => {
  const { sender, receiver } = createPair(SMALL);
  sender.send(EnvelopeKind.Message, 0, 0, NOTHING);
  sender.flush();
  assert.throws(() => receiver.drain(() => void receiver.drain(() => {}, 1), 1), /does not drain/);
});

test('arguments out of range are refused before anything is written', () => {
  const { sender, drain } = createPair(SMALL);
  assert.throws(() => sender.send(0, 0, 0, NOTHING), /out of range/);
  assert.throws(() => sender.trySend(256, 0, 0, NOTHING), /out of range/);
  assert.throws(() => sender.send(1, 0x10000, 0, NOTHING), /out of range/);
  assert.throws(() => sender.send(1, 0, 0, NOTHING, NOTHING, 0x40), /out of range/);
  sender.flush();
  assert.equal(drain(), 0);
  for (const capacity of [512, 1000, 1500, 2 ** 31]) assert.throws(() => createLink(capacity), /power of two/);
});

test('a damaged ring is an assertion, never a read beyond it', () => {
  // What is damaged, a word of the second record or a control cell, and its new value or what is added to it.
  const damages: [string, { word?: number; cell?: number; value?: number; add?: number }][] = [
    ['a length beyond the tail', { word: 0, value: 90 }],
    ['a length beyond the ring', { word: 0, value: 0xfffffff }],
    ['a negative length', { word: 0, value: -1 }],
    ['a skip that is too short', { word: 1, value: 0 }],
    ['a sequence with a gap', { word: 4, value: 5 }],
    ['a producer from the past', { word: 3, value: -1 }],
    ['a message shorter than its fragment', { word: 5, value: 3 }],
    ['a message longer than any may be', { word: 5, value: MESSAGE_BYTES_MAX + 1 }],
    ['a tail beyond the capacity', { cell: CELL_TAIL, add: SMALL }],
    ['a tail that went back', { cell: CELL_TAIL, add: -64 }],
  ];
  for (const [what, damage] of damages) {
    const { link, sender, received, drain } = createPair(SMALL, 2 ** 32 - 72);
    // The first record takes the end of the ring, so that the damaged one is its word 0.
    sender.send(EnvelopeKind.Message, 0, 0, message(0, 40));
    sender.flush();
    drain();
    sender.send(EnvelopeKind.Message, 0, 1, message(1, 20));
    sender.flush();
    const cells = new Int32Array(link.memory);
    const at = damage.cell ?? CONTROL_BYTES / 4 + (damage.word ?? 0);
    cells[at] = damage.value ?? cells[at]! + (damage.add ?? 0);
    assert.throws(() => drain(), { name: 'AssertionError' }, what);
    assert.equal(received.length, 1, what);
  }
});

test('random steps: order, content and accounting hold', () => {
  const prng = new Prng(20);
  for (const capacity of [1024, 2048, 16384]) {
    const { sender, received, drain } = createPair(capacity, 2 ** 32 - 8192);
    let sent = 0;
    let taken = 0;
    const lengths: number[] = [];
    const check = () => {
      for (const one of received) {
        if (one.kind !== EnvelopeKind.Message) continue;
        assertMessage(one, taken, lengths[taken]!);
        taken += 1;
      }
      received.length = 0;
    };
    for (let step = 0; step < 100_000; step++) {
      const choice = prng.nextBelow(10);
      const length = prng.nextBelow(20) === 0 ? prng.nextBelow(capacity) : prng.nextBelow(60);
      if (choice < 4 && sender.backlogBytes < 4 * capacity) {
        lengths.push(length);
        sender.send(EnvelopeKind.Message, 0, sent, message(sent, length, choice));
        sent += 1;
      } else if (choice < 7) {
        sender.trySend(EnvelopeKind.Raft, 0, step, message(step, length, choice));
      } else if (choice === 7) {
        sender.flush();
      } else {
        drain(prng.nextBelow(40));
        check();
      }
    }
    while (sender.backlogBytes > 0) {
      sender.flush();
      drain();
    }
    sender.flush();
    drain();
    check();
    assert.equal(taken, sent);
    assert.ok(sender.droppedMessages > 100, 'the ring was full now and then');
  }
});
