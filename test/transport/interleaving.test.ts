/**
 * Two model threads on one real thread, with a switch at every atomic operation: a producer whose ring is too small and
 * a consumer, each of which sleeps when it has nothing to do. Whatever the switches, everything must arrive: nobody may
 * sleep for ever on a wakeup that was lost.
 *
 * A switch runs one whole step of the other thread before the atomic operation, as the scheduler of a sequentially
 * consistent machine might. One switch at each place is tried exhaustively, many switches at random.
 */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import { createLink } from '../../src/transport/layout.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';

const RUNG = 2;
const real = { load: Atomics.load, store: Atomics.store, compareExchange: Atomics.compareExchange };

/** Calls `before` ahead of every atomic operation until restore(). */
function intercept(before: () => void): void {
  for (const name of ['load', 'store', 'compareExchange'] as const) {
    const operation = real[name] as (...args: unknown[]) => unknown;
    Reflect.set(Atomics, name, (...args: unknown[]) => {
      before();
      return operation(...args);
    });
  }
}

function restore(): void {
  Object.assign(Atomics, real);
}

afterEach(restore);

/** A thread that works, sleeps on its doorbell, and works again once that has rung. */
class ModelThread {
  readonly bell: Doorbell;
  readonly #cell: Int32Array;
  readonly #work: () => void;
  #asleep = false;
  #running = false;

  constructor(work: (thread: ModelThread) => void) {
    const buffer = createDoorbell();
    this.bell = new Doorbell(buffer);
    this.#cell = new Int32Array(buffer.memory);
    this.#work = () => work(this);
  }

  get runnable(): boolean {
    return !this.#running && (!this.#asleep || this.#cell[0] === RUNG);
  }

  step(): void {
    this.#running = true;
    if (this.#asleep) this.bell.wake(); // What the notification does when it arrives.
    this.#work();
    this.#asleep = this.bell.wait(1_000_000) !== undefined;
    this.#running = false;
  }
}

/** Runs both threads until neither can, switching where `switchAt(n)` says, n counting atomic operations. */
function run(switchAt: (operation: number) => boolean, messages: number): number {
  const link = createLink(1024, 2 ** 32 - 512);
  const received: number[] = [];
  let sent = 0;
  const producer: ModelThread = new ModelThread(() => {
    // It sleeps only when messages wait in memory: then only the consumer, making room, can wake it.
    do {
      for (let i = 0; i < 12 && sent < messages; i++) {
        sender.send(EnvelopeKind.Message, 0, sent, new Uint8Array(sent % 7 === 0 ? 300 : 40));
        sent += 1;
      }
      sender.flush();
    } while (sender.backlogBytes === 0 && sent < messages);
  });
  const consumer: ModelThread = new ModelThread(() => {
    while (receiver.drain((_kind, _aux, id) => void received.push(id), 3) === 3);
  });
  const sender = new Sender({ link, incarnation: 1, doorbell: consumer.bell });
  const receiver = new Receiver({ link, incarnation: 1, doorbell: producer.bell });
  let operations = 0;
  let nested = false;
  intercept(() => {
    operations += 1;
    if (nested || !switchAt(operations)) return;
    nested = true;
    const other = producer.runnable ? producer : consumer;
    if (other.runnable) other.step();
    nested = false;
  });
  for (;;) {
    if (producer.runnable) producer.step();
    else if (consumer.runnable) consumer.step();
    else break;
  }
  restore();
  producer.bell.close();
  consumer.bell.close();
  const what = `${received.length} of ${sent} arrived, ${sender.backlogBytes} bytes wait, and both threads sleep`;
  assert.equal(sent, messages, what);
  assert.deepEqual(
    received,
    Array.from({ length: messages }, (_, id) => id),
    what,
  );
  return operations;
}

test('one switch, before each atomic operation of a run', () => {
  const operations = run(() => false, 36);
  assert.ok(operations > 50);
  for (let at = 1; at <= operations + 10; at++) run(operation => operation === at, 36);
});

test('many switches at random', () => {
  for (let seed = 0; seed < 1000; seed++) {
    const prng = new Prng(seed);
    const rarity = 1 + prng.nextBelow(12);
    run(() => prng.nextBelow(rarity) === 0, 36);
  }
});
