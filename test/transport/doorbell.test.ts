import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import type { LitmusData } from './litmus.worker.js';

/** Longer than any test may last: whoever waits this long has lost a wakeup, and the test's own timeout says so. */
const FOREVER_MS = 10 * 60_000;

/** Pending waits do not keep a thread alive, by design. */
const keepAlive = setInterval(() => {}, 1000);
test.after(() => clearInterval(keepAlive));

test('a ring before the wait: do not sleep, once', async () => {
  const bell = new Doorbell(createDoorbell());
  bell.ring();
  bell.ring();
  assert.equal(bell.wait(FOREVER_MS), undefined);
  const sleep = bell.wait(FOREVER_MS);
  assert.ok(sleep !== undefined);
  bell.ring();
  await sleep;
  bell.close();
});

test('rings are heard through any view of the cell', { timeout: 30_000 }, async () => {
  const buffer = createDoorbell();
  const bell = new Doorbell(buffer);
  const other = new Doorbell(buffer);
  for (let i = 0; i < 100; i++) {
    const sleep = bell.wait(FOREVER_MS);
    assert.ok(sleep !== undefined);
    other.ring();
    await sleep;
  }
  bell.close();
});

test('a wait without a ring ends by its timeout; the waiter it leaves behind serves the next', async () => {
  const bell = new Doorbell(createDoorbell());
  for (let i = 0; i < 5; i++) await bell.wait(1);
  const sleep = bell.wait(FOREVER_MS);
  bell.ring();
  await sleep;
  // A shorter timeout replaces a longer one, and a longer one is not cut short by what is left of it.
  await bell.wait(1);
  await bell.wait(0);
  bell.close();
});

test('a ring that comes after a timeout is not lost', { timeout: 30_000 }, async () => {
  const bell = new Doorbell(createDoorbell());
  for (let i = 0; i < 50; i++) {
    await bell.wait(0);
    bell.ring();
    assert.equal(bell.wait(FOREVER_MS), undefined);
    const sleep = bell.wait(FOREVER_MS);
    bell.ring();
    await sleep;
  }
  bell.close();
});

test('the owner can wake itself, and a ring meanwhile is not lost', async () => {
  const bell = new Doorbell(createDoorbell());
  bell.wake(); // Nobody sleeps: nothing happens.
  const sleep = bell.wait(FOREVER_MS);
  bell.wake();
  await sleep;
  bell.ring();
  assert.equal(bell.wait(FOREVER_MS), undefined);
  bell.close();
});

test('a successor is not confused by the cell its predecessor left armed', async () => {
  const buffer = createDoorbell();
  void new Doorbell(buffer).wait(FOREVER_MS); // Its thread dies now.
  const bell = new Doorbell(buffer);
  assert.equal(bell.wait(FOREVER_MS), undefined, 'one turn for nothing');
  const sleep = bell.wait(FOREVER_MS);
  assert.ok(sleep !== undefined);
  new Doorbell(buffer).ring();
  await sleep;
  bell.close();
});

test('the owner waits once at a time, and not for ever', () => {
  const bell = new Doorbell(createDoorbell());
  assert.throws(() => bell.wait(-1), /timeout/);
  assert.throws(() => bell.wait(Number.POSITIVE_INFINITY), /timeout/);
  void bell.wait(FOREVER_MS);
  assert.throws(() => bell.wait(FOREVER_MS), /once/);
  bell.close();
});

test('spinning hears a ring as well', () => {
  const bell = new Doorbell(createDoorbell(), { spinsMax: 1000 });
  bell.ring();
  assert.equal(bell.wait(FOREVER_MS), undefined);
});

// The litmus: a lost wakeup leaves both threads asleep for FOREVER_MS, and the test's timeout fires.
for (const [name, options] of Object.entries({
  'ping-pong, always asleep in between': { rounds: 20_000, delaysMax: 0, timeoutMs: FOREVER_MS, spinsMax: 0 },
  'rings at random moments around arming': { rounds: 8000, delaysMax: 3000, timeoutMs: FOREVER_MS, spinsMax: 0 },
  'with a spin before arming': { rounds: 8000, delaysMax: 3000, timeoutMs: FOREVER_MS, spinsMax: 500 },
})) {
  test(`no wakeup is lost between two threads: ${name}`, { timeout: 60_000 }, async () => {
    const data = { ...options, bells: [createDoorbell(), createDoorbell()], counters: new SharedArrayBuffer(256) };
    const ends = [0, 1].map(side => {
      const workerData: LitmusData = { ...data, side };
      const worker = new Worker(new URL('./litmus.worker.js', import.meta.url), { workerData });
      return new Promise<number>((resolve, reject) => worker.once('message', resolve).once('error', reject));
    });
    assert.deepEqual(await Promise.all(ends), [options.rounds, options.rounds]);
  });
}
