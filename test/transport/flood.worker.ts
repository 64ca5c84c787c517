/** Sends numbered messages as fast as the ring takes them, until its thread is killed in the middle of it. */
import { parentPort, workerData } from 'node:worker_threads';
import { Prng } from '../../src/base/prng.js';
import { Doorbell, type DoorbellBuffer } from '../../src/transport/doorbell.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import type { LinkBuffers } from '../../src/transport/layout.js';
import { Sender } from '../../src/transport/sender.js';

export interface FloodData {
  readonly link: LinkBuffers;
  readonly incarnation: number;
  readonly myBell: DoorbellBuffer;
  readonly peerBell: DoorbellBuffer;
}

const { link, incarnation, myBell, peerBell } = workerData as FloodData;
const bell = new Doorbell(myBell);
const sender = new Sender({ link, incarnation, doorbell: new Doorbell(peerBell) });
const prng = new Prng(incarnation);
const keepAlive = setInterval(() => {}, 1000);
parentPort?.postMessage('attached');
for (let id = 0; keepAlive.hasRef(); id++) {
  // One in ten is longer than a record may be, and every hundredth longer than the ring.
  const length = id % 100 === 0 ? 10_000 : prng.nextBelow(id % 10 === 0 ? 3000 : 300);
  sender.send(EnvelopeKind.Message, 0, id, new Uint8Array(length).fill(id));
  if (prng.nextBelow(5) === 0) sender.flush();
  while (sender.backlogBytes > 20_000) {
    await bell.wait(100);
    sender.flush();
  }
}
