/** A link with both ends on one thread, messages whose bytes tell whether they are whole, and a log of what arrives. */
import assert from 'node:assert/strict';
import { Prng } from '../../src/base/prng.js';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import { createLink, type LinkBuffers } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';

export interface Received {
  readonly kind: number;
  readonly aux: number;
  readonly id: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

export interface Pair {
  readonly link: LinkBuffers;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly senderBell: Doorbell;
  readonly receiverBell: Doorbell;
  /** What has arrived, copied. */
  readonly received: Received[];
  /** Drains the link's receiver into `received`. */
  drain(recordsMax?: number, nowMs?: number): number;
}

export function createPair(capacityBytes: number, counter = 0): Pair {
  const link = createLink(capacityBytes, counter);
  const senderBell = new Doorbell(createDoorbell());
  const receiverBell = new Doorbell(createDoorbell());
  const receiver = new Receiver({ link, incarnation: 1, doorbell: senderBell, prng: new Prng(1) });
  const sender = new Sender({ link, incarnation: 1, doorbell: receiverBell });
  const received: Received[] = [];
  const drain = (recordsMax = 1e9, nowMs = 0) => receiver.drain(recordInto(received), recordsMax, nowMs);
  return { link, sender, receiver, senderBell, receiverBell, received, drain };
}

export function recordInto(received: Received[]) {
  return (kind: number, aux: number, id: number, payload: Uint8Array, flags: number): void => {
    received.push({ kind, aux, id, flags, payload: new Uint8Array(payload) });
  };
}

/** `length` bytes that depend on `id` and on their position; `misalignment` shifts them in their buffer. */
export function message(id: number, length: number, misalignment = 0): Uint8Array {
  const bytes = new Uint8Array(length + misalignment).subarray(misalignment);
  for (let i = 0; i < length; i++) bytes[i] = (id * 31 + i * 7 + (i >> 8)) & 0xff;
  return bytes;
}

export function assertMessage(received: Received | undefined, id: number, length: number): void {
  assert.ok(received !== undefined, `message ${id} has arrived`);
  assert.equal(received.id, id);
  assert.equal(Buffer.compare(received.payload, message(id, length)), 0, `message ${id} of ${length} bytes is whole`);
}
