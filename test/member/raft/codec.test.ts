/** Messages survive the ring, byte for byte, and what is decoded does not depend on the ring's memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { decodeMessage, MessageEncoder } from '../../../src/member/raft/codec.js';
import { draftMessage } from '../../../src/member/raft/outbox.js';
import { type Entry, type EntryType, type Message, MessageType } from '../../../src/member/raft/types.js';

const NUMBERS = [0, 1, 127, 128, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER];

function drawNumber(prng: Prng): number {
  return prng.nextBelow(3) === 0 ? prng.nextBelow(1000) : NUMBERS[prng.nextBelow(NUMBERS.length)]!;
}

function drawId(prng: Prng): bigint {
  return (BigInt(prng.nextUint32()) << 32n) | BigInt(prng.nextUint32());
}

function drawIds(prng: Prng): bigint[] {
  return Array.from({ length: prng.nextBelow(4) }, () => drawId(prng));
}

function drawEntries(prng: Prng, firstIndex: number | undefined): Entry[] {
  return Array.from({ length: prng.nextBelow(5) }, (_, i) => {
    const data = Uint8Array.from({ length: prng.nextBelow(2) * prng.nextBelow(300) }, () => prng.nextBelow(256));
    const type = prng.nextBelow(3) as EntryType;
    return { type, term: drawNumber(prng), index: firstIndex === undefined ? 0 : firstIndex + i, data };
  });
}

function drawMessage(prng: Prng): Message {
  const types = Object.values(MessageType);
  const type = types[prng.nextBelow(types.length)]!;
  const message = draftMessage(type, drawId(prng), drawId(prng), drawNumber(prng));
  message.logTerm = drawNumber(prng);
  message.index = prng.nextBelow(2 ** 32) * 1000;
  message.commit = drawNumber(prng);
  message.rejectHint = drawNumber(prng);
  message.context = drawNumber(prng);
  message.reject = prng.nextBelow(2) === 0;
  message.campaignTransfer = prng.nextBelow(2) === 0;
  message.entries = drawEntries(prng, prng.nextBelow(2) === 0 ? undefined : message.index + 1);
  if (prng.nextBelow(2) === 0) {
    const confState = {
      voters: drawIds(prng),
      learners: drawIds(prng),
      votersOutgoing: drawIds(prng),
      learnersNext: drawIds(prng),
      autoLeave: prng.nextBelow(2) === 0,
    };
    message.snapshot = { index: drawNumber(prng), term: drawNumber(prng), confState };
  }
  return message;
}

test('every message comes back as it was, also from shared memory', () => {
  const prng = new Prng(1);
  const encoder = new MessageEncoder();
  const ring = new Uint8Array(new SharedArrayBuffer(1 << 16));
  for (let i = 0; i < 2000; i++) {
    const message = drawMessage(prng);
    const bytes = encoder.encode(message);
    const offset = prng.nextBelow(100);
    ring.set(bytes, offset);
    const decoded = decodeMessage(ring.subarray(offset, offset + bytes.length));
    ring.fill(0xee);
    assert.deepEqual(decoded, message);
  }
});

test('entry data are copied once: they share one buffer, which is not the ring and not a pool', () => {
  const message = draftMessage(MessageType.App, 1n, 2n, 1);
  const data = new Uint8Array(300).fill(7);
  message.entries = [1, 2, 3].map(index => ({ type: 0, term: 1, index, data }));
  const record = Buffer.from(new MessageEncoder().encode(message));
  const { entries } = decodeMessage(record);
  const buffers = new Set(entries.map(entry => entry.data.buffer));
  assert.equal(buffers.size, 1);
  assert.notEqual(entries[0]!.data.buffer, record.buffer);
  assert.ok(entries[0]!.data.buffer.byteLength < record.length, 'no more than the record is kept alive');
});

test('the scratch grows with the message and is used again', () => {
  const encoder = new MessageEncoder();
  const message = draftMessage(MessageType.Prop, 1n, 2n, 0);
  message.entries = [{ type: 0, term: 0, index: 0, data: new Uint8Array(3_000_000).fill(5) }];
  assert.deepEqual(decodeMessage(encoder.encode(message)), message);
  const small = draftMessage(MessageType.HeartbeatResp, 3n, 4n, 5);
  assert.deepEqual(decodeMessage(encoder.encode(small)), small);
});

test('a record that this code cannot have written is a broken law', () => {
  const message = draftMessage(MessageType.App, 1n, 2n, 1);
  message.entries = [{ type: 0, term: 1, index: 1, data: Uint8Array.of(1, 2, 3) }];
  const bytes = Uint8Array.from(new MessageEncoder().encode(message));
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeMessage(bytes.subarray(0, length)), { name: 'AssertionError' }, `cut at ${length}`);
  }
  assert.throws(() => decodeMessage(Uint8Array.of(...bytes, 0)), { name: 'AssertionError' });
  assert.throws(() => decodeMessage(bytes.map((byte, i) => (i === 0 ? 99 : byte))), { name: 'AssertionError' });
  message.entries = [{ type: 0, term: 1, index: 7, data: new Uint8Array(0) }];
  assert.throws(() => new MessageEncoder().encode(message), /consecutive/);
});
