/** Takes messages and checks that each was meant for this life (aux = incarnation), until its thread is killed. */
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { Doorbell, type DoorbellBuffer } from '../../src/transport/doorbell.js';
import type { LinkBuffers } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';

export interface TakerData {
  readonly link: LinkBuffers;
  readonly incarnation: number;
  readonly myBell: DoorbellBuffer;
  readonly peerBell: DoorbellBuffer;
  /** One Int32: how many messages were taken, over all lives. */
  readonly taken: SharedArrayBuffer;
}

const { link, incarnation, myBell, peerBell, taken } = workerData as TakerData;
const bell = new Doorbell(myBell);
const receiver = new Receiver({ link, incarnation, doorbell: new Doorbell(peerBell) });
const takenCell = new Int32Array(taken);
const keepAlive = setInterval(() => {}, 1000);
parentPort?.postMessage('attached');

let lastId = -1;
while (keepAlive.hasRef()) {
  const count = receiver.drain((_kind, aux, id, payload) => {
    assert.equal(aux, incarnation);
    if (lastId !== -1) assert.equal(id, lastId + 1);
    lastId = id;
    for (let i = 0; i < payload.length; i++) if (payload[i] !== (id & 0xff)) assert.fail(`message ${id} is torn`);
    Atomics.add(takenCell, 0, 1);
  }, 100);
  if (count < 100) await bell.wait(100);
}
