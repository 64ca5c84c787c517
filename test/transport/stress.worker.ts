/**
 * One end of a pair of links under stress: sends numbered messages of random sizes, checks what comes back, stalls now
 * and then. Both threads of a test run this same file.
 *
 * A message of the lossless lane has the next number, always; one of the lossy lane a greater number than the last.
 * Every payload can be computed from its number, so that a byte out of place is found.
 */
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { Prng } from '../../src/base/prng.js';
import { Doorbell, type DoorbellBuffer } from '../../src/transport/doorbell.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import { type LinkBuffers, ringBytes } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';

export interface StressData {
  readonly seed: number;
  readonly incarnation: number;
  readonly messages: number;
  /** Payloads are at most this long, most of them much shorter. */
  readonly bytesMax: number;
  readonly outgoing: LinkBuffers;
  readonly incoming: LinkBuffers;
  readonly myBell: DoorbellBuffer;
  readonly peerBell: DoorbellBuffer;
}

export interface StressResult {
  readonly lossless: number;
  readonly lossy: number;
  readonly refused: number;
  readonly turns: number;
}

const { seed, incarnation, messages, bytesMax, outgoing, incoming, myBell, peerBell } = workerData as StressData;
const bell = new Doorbell(myBell);
const peer = new Doorbell(peerBell);
const sender = new Sender({ link: outgoing, incarnation, doorbell: peer });
const receiver = new Receiver({ link: incoming, incarnation, doorbell: peer });
const prng = new Prng(seed);
const keepAlive = setInterval(() => {}, 1000);

/** Source of all payloads: message n is `pattern` from n % 251 on, behind its number. */
const pattern = new Uint8Array(bytesMax + 256);
for (let i = 0; i < pattern.length; i++) pattern[i] = (i * 37 + (i >> 8) * 11) & 0xff;
const prefix = new Uint8Array(4);
const lossyBytesMax = ringBytes(outgoing) / 2 - prefix.length;
const stallCell = new Int32Array(new SharedArrayBuffer(4));

let sent = 0;
let nextLossless = 0;
let lastLossy = -1;
let lossyCount = 0;
let ended = false;
let turns = 0;

parentPort?.postMessage('attached');
await new Promise(resolve => parentPort?.once('message', resolve));

for (;;) {
  turns += 1;
  const recordsMax = 1 + prng.nextBelow(500);
  const more = receiver.drain(take, recordsMax) === recordsMax;
  const batch = prng.nextBelow(100);
  for (let i = 0; i < batch && sent < messages && sender.backlogBytes < 4 * bytesMax; i++) sendNext();
  if (sent === messages) {
    sender.send(EnvelopeKind.HalfClose, 0, sent, new Uint8Array(0));
    sent += 1;
  }
  sender.flush();
  if (ended && sent > messages && sender.backlogBytes === 0) break;
  // A stalled thread, as an fsync makes it: the peer's ring fills up.
  if (prng.nextBelow(500) === 0) Atomics.wait(stallCell, 0, 0, 1);
  if (!more && (sent > messages || sender.backlogBytes >= 4 * bytesMax)) await bell.wait(600_000);
}
const result: StressResult = { lossless: nextLossless, lossy: lossyCount, refused: sender.droppedMessages, turns };
parentPort?.postMessage(result);
clearInterval(keepAlive);
bell.close();
parentPort?.close();

function sendNext(): void {
  const length = prng.nextBelow(200) === 0 ? prng.nextBelow(bytesMax) : prng.nextBelow(120);
  const payload = pattern.subarray(sent % 251, (sent % 251) + length);
  prefix[0] = length;
  prefix[1] = length >> 8;
  prefix[2] = length >> 16;
  prefix[3] = length >> 24;
  // A lossy message longer than half of the ring may wait, and then loses its place.
  if (length < lossyBytesMax && prng.nextBelow(8) === 0)
    sender.trySend(EnvelopeKind.Raft, sent & 0xffff, sent, payload, prefix);
  sender.send(EnvelopeKind.Message, sent & 0xffff, sent, payload, prefix);
  sent += 1;
}

function take(kind: number, aux: number, id: number, payload: Uint8Array): void {
  if (kind === EnvelopeKind.HalfClose) {
    assert.equal(id, nextLossless);
    ended = true;
    return;
  }
  if (kind === EnvelopeKind.Message) {
    assert.equal(id, nextLossless);
    nextLossless += 1;
  } else {
    assert.ok(id > lastLossy);
    lastLossy = id;
    lossyCount += 1;
  }
  assert.equal(aux, id & 0xffff);
  const length = payload[0]! | (payload[1]! << 8) | (payload[2]! << 16) | (payload[3]! << 24);
  assert.equal(payload.length, length + 4);
  const from = id % 251;
  assert.equal(Buffer.compare(payload.subarray(4), pattern.subarray(from, from + length)), 0);
}
