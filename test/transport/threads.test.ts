import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import { createLink } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';
import type { FloodData } from './flood.worker.js';
import type { StressData, StressResult } from './stress.worker.js';
import type { TakerData } from './taker.worker.js';

/** Runs two threads against each other until each has got everything the other sent. */
async function stress(capacityBytes: number, messages: number, bytesMax: number): Promise<StressResult[]> {
  // Counters cross 2^32 early on.
  const links = [createLink(capacityBytes, 2 ** 32 - 65_536), createLink(capacityBytes, 2 ** 32 - 65_536)];
  const bells = [createDoorbell(), createDoorbell()];
  const workers = [0, 1].map(side => {
    const workerData: StressData = {
      seed: capacityBytes + side,
      incarnation: 1,
      messages,
      bytesMax,
      outgoing: links[side]!,
      incoming: links[1 - side]!,
      myBell: bells[side]!,
      peerBell: bells[1 - side]!,
    };
    return new Worker(new URL('./stress.worker.js', import.meta.url), { workerData });
  });
  const failed = new Promise<never>((_, reject) => {
    for (const worker of workers) worker.once('error', reject);
  });
  const next = (): Promise<unknown[]> =>
    Promise.race([failed, Promise.all(workers.map(worker => new Promise(resolve => worker.once('message', resolve))))]);
  try {
    assert.deepEqual(await next(), ['attached', 'attached']);
    const results = next();
    for (const worker of workers) worker.postMessage('go');
    return (await results) as StressResult[];
  } finally {
    await Promise.all(workers.map(worker => worker.terminate()));
  }
}

// The test's timeout is the watchdog: a lost wakeup or a deadlock of two full rings leaves both threads asleep.
for (const [capacityBytes, messages, bytesMax] of [
  [1024, 50_000, 1000],
  [16_384, 300_000, 20_000],
  [1 << 20, 400_000, 100_000],
] as const) {
  test(`two threads, ${messages} messages each way through rings of ${capacityBytes} bytes`, {
    timeout: 120_000,
  }, async () => {
    for (const { lossless, lossy, refused } of await stress(capacityBytes, messages, bytesMax)) {
      assert.equal(lossless, messages);
      assert.ok(lossy > 0 && lossy + refused < messages);
    }
  });
}

test('a producer that is killed again and again never leaves a torn message', { timeout: 120_000 }, async () => {
  const link = createLink(8192);
  const bell = createDoorbell();
  const mine = new Doorbell(bell);
  const producerBell = createDoorbell();
  const receiver = new Receiver({ link, incarnation: 1, doorbell: new Doorbell(producerBell) });
  let lastId = -1;
  let taken = 0;
  const take = (_kind: number, _aux: number, id: number, payload: Uint8Array): void => {
    assert.ok(id > lastId, `message ${id} after ${lastId}`);
    lastId = id;
    taken += 1;
    for (let i = 0; i < payload.length; i++) if (payload[i] !== (id & 0xff)) assert.fail(`message ${id} is torn`);
  };
  for (let life = 1; life <= 8; life++) {
    const workerData: FloodData = { link, incarnation: life, myBell: producerBell, peerBell: bell };
    const worker = new Worker(new URL('./flood.worker.js', import.meta.url), { workerData });
    const failed = new Promise<never>((_, reject) => worker.once('error', reject));
    failed.catch(() => {});
    // Ids start anew with each life, and what the last one left is dropped unseen.
    await Promise.race([failed, new Promise(resolve => worker.once('message', resolve))]);
    lastId = -1;
    const until = taken + 1000 + life * 371;
    while (taken < until) {
      receiver.drain(take, 200);
      await Promise.race([failed, mine.wait(100) ?? new Promise(resolve => setImmediate(resolve))]);
    }
    await worker.terminate();
  }
  assert.ok(receiver.staleRecords > 0);
  mine.close();
});

test('a consumer that is killed again and again hears nothing of its past lives', { timeout: 120_000 }, async () => {
  const link = createLink(8192);
  const bell = createDoorbell();
  const mine = new Doorbell(bell);
  const takerBell = createDoorbell();
  const sender = new Sender({ link, incarnation: 1, doorbell: new Doorbell(takerBell) });
  const taken = new SharedArrayBuffer(4);
  const takenCell = new Int32Array(taken);
  let id = 0;
  const fill = (life: number): void => {
    for (; sender.backlogBytes < 20_000; id++) {
      const length = id % 100 === 0 ? 10_000 : (id * 37) % 700;
      sender.send(EnvelopeKind.Message, life, id, new Uint8Array(length).fill(id));
    }
  };
  for (let life = 1; life <= 8; life++) {
    const workerData: TakerData = { link, incarnation: life, myBell: takerBell, peerBell: bell, taken };
    const worker = new Worker(new URL('./taker.worker.js', import.meta.url), { workerData });
    const failed = new Promise<never>((_, reject) => worker.once('error', reject));
    failed.catch(() => {});
    await Promise.race([failed, new Promise(resolve => worker.once('message', resolve))]);
    const until = Atomics.load(takenCell, 0) + 1000 + life * 371;
    while (Atomics.load(takenCell, 0) < until) {
      fill(life);
      sender.flush();
      await Promise.race([failed, mine.wait(20) ?? new Promise(resolve => setImmediate(resolve))]);
    }
    await worker.terminate();
    // To the dead: fills the ring and a backlog that the next life must not see.
    fill(life);
    sender.flush();
  }
  assert.ok(sender.abandonedMessages > 0);
  mine.close();
});
