/**
 * One of two threads that wake each other: each publishes a number in its counter, rings the other, and sleeps until
 * the other's counter has caught up. Busy delays of random length move the rings around the moment of arming.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Prng } from '../../src/base/prng.js';
import { Doorbell, type DoorbellBuffer } from '../../src/transport/doorbell.js';

export interface LitmusData {
  readonly side: number;
  readonly rounds: number;
  /** Most iterations of a busy loop before each step. */
  readonly delaysMax: number;
  readonly timeoutMs: number;
  readonly spinsMax: number;
  readonly bells: readonly DoorbellBuffer[];
  readonly counters: SharedArrayBuffer;
}

const { side, rounds, delaysMax, timeoutMs, spinsMax, bells, counters } = workerData as LitmusData;
const mine = new Doorbell(bells[side]!, { spinsMax });
const theirs = new Doorbell(bells[1 - side]!);
const cells = new Int32Array(counters);
const myCell = side * 32;
const theirCell = 32 - myCell;
const prng = new Prng(side);
const keepAlive = setInterval(() => {}, 1000);

for (let round = 1; round <= rounds; round++) {
  delay();
  Atomics.store(cells, myCell, round);
  theirs.ring();
  delay();
  while (Atomics.load(cells, theirCell) < round) await mine.wait(timeoutMs);
}
parentPort?.postMessage(Atomics.load(cells, myCell));
clearInterval(keepAlive);
mine.close();

function delay(): void {
  const times = delaysMax === 0 ? 0 : prng.nextBelow(delaysMax);
  for (let i = 0; i < times; i++) Atomics.load(cells, 63);
}
