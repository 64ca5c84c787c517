import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnvelopeKind } from '../../src/transport/envelope.js';
import { type Faults, LinkFaults, NO_FAULTS } from '../../src/transport/faults.js';
import { assertMessage, createPair, message, type Pair } from './support.js';

const MESSAGES = 2000;

/** Sends MESSAGES messages over a faulty link, one per millisecond, then waits for all that is held. */
function run(faults: Partial<Faults>): { pair: Pair; ids: number[]; arrivedMs: number[] } {
  const pair = createPair(4096);
  new LinkFaults(pair.link).set(faults);
  const arrivedMs: number[] = [];
  const tick = (nowMs: number) => {
    pair.drain(1000, nowMs);
    while (arrivedMs.length < pair.received.length) arrivedMs.push(nowMs);
  };
  for (let id = 0; id < MESSAGES; id++) {
    assert.ok(pair.sender.trySend(EnvelopeKind.Raft, 0, id, message(id, id % 300)));
    pair.sender.flush();
    tick(1000 + id);
  }
  while (pair.receiver.dueMs !== Number.POSITIVE_INFINITY) tick(pair.receiver.dueMs);
  for (const one of pair.received) assertMessage(one, one.id, one.id % 300);
  return { pair, ids: pair.received.map(({ id }) => id), arrivedMs };
}

test('a cut link delivers nothing, a healed one everything that is sent then', () => {
  const { pair, ids } = run({ cut: true });
  assert.deepEqual(ids, []);
  assert.equal(pair.receiver.faultDroppedMessages, MESSAGES);
  new LinkFaults(pair.link).set({});
  pair.sender.send(EnvelopeKind.Raft, 0, 1, message(1, 700));
  pair.sender.flush();
  pair.drain();
  assertMessage(pair.received[0], 1, 700);
});

test('drop loses the given share, and nothing else changes', () => {
  const { pair, ids } = run({ dropPermille: 300 });
  // 600 expected, standard deviation 20; the seed is fixed.
  assert.ok(Math.abs(pair.receiver.faultDroppedMessages - 600) < 120);
  assert.equal(ids.length + pair.receiver.faultDroppedMessages, MESSAGES);
  assert.deepEqual(
    ids,
    ids.toSorted((a, b) => a - b),
  );
  assert.deepEqual(run({ dropPermille: 1000 }).ids, []);
});

test('delay holds every message for its time and keeps the order', () => {
  const { ids, arrivedMs } = run({ delayMsMin: 20, delayMsMax: 50 });
  assert.deepEqual(
    ids,
    Array.from({ length: MESSAGES }, (_, id) => id),
  );
  let late = 0;
  for (const [id, at] of arrivedMs.entries()) {
    const delayMs = at - (1000 + id);
    assert.ok(delayMs >= 20 && delayMs <= 50, `message ${id} was held for ${delayMs} ms`);
    late = Math.max(late, delayMs);
  }
  assert.ok(late > 40);
});

test('duplicate delivers a second copy, later', () => {
  const { ids } = run({ duplicatePermille: 250 });
  const copies = ids.length - MESSAGES;
  assert.ok(Math.abs(copies - 500) < 120, `${copies} copies`);
  const firsts = ids.filter((id, at) => ids.indexOf(id) === at);
  assert.deepEqual(
    firsts,
    Array.from({ length: MESSAGES }, (_, id) => id),
  );
});

test('reorder lets later messages overtake, and loses none', () => {
  const { ids } = run({ reorderPermille: 200 });
  const overtaken = ids.filter((id, at) => at > 0 && id < ids[at - 1]!).length;
  assert.ok(overtaken > 200, `${overtaken} were overtaken`);
  assert.deepEqual(
    ids.toSorted((a, b) => a - b),
    Array.from({ length: MESSAGES }, (_, id) => id),
  );
});

test('all at once, twice with the same seed: the same run', () => {
  const faults = { dropPermille: 100, delayMsMin: 1, delayMsMax: 9, duplicatePermille: 100, reorderPermille: 100 };
  assert.deepEqual(run(faults).ids, run(faults).ids);
});

test('what is held when the faults are cleared still arrives in order', () => {
  const pair = createPair(4096);
  const faults = new LinkFaults(pair.link);
  faults.set({ delayMsMin: 100, delayMsMax: 100 });
  const send = (id: number) => {
    pair.sender.send(EnvelopeKind.Raft, 0, id, message(id, 20));
    pair.sender.flush();
  };
  send(1);
  assert.equal(pair.drain(10, 1000), 1);
  faults.set({});
  send(2);
  pair.drain(10, 1050);
  assert.equal(pair.received.length, 0);
  assert.equal(pair.receiver.dueMs, 1100);
  assert.equal(pair.drain(10, 1100), 2);
  send(3);
  pair.drain(); // No clock is needed any more.
  assert.deepEqual(
    pair.received.map(({ id }) => id),
    [1, 2, 3],
  );
});

test('what is held when the link is cut is lost', () => {
  const pair = createPair(4096);
  const faults = new LinkFaults(pair.link);
  faults.set({ delayMsMin: 10, delayMsMax: 10 });
  pair.sender.send(EnvelopeKind.Raft, 0, 1, message(1, 20));
  pair.sender.flush();
  pair.drain(10, 1000);
  faults.set({ cut: true });
  pair.drain(10, 2000);
  assert.deepEqual(pair.received, []);
  assert.equal(pair.receiver.faultDroppedMessages, 1);
});

test('the holding queue is bounded', () => {
  const pair = createPair(65536);
  new LinkFaults(pair.link).set({ delayMsMin: 1000, delayMsMax: 1000 });
  for (let id = 0; id < 5000; id++) {
    pair.sender.send(EnvelopeKind.Raft, 0, id, message(id, 8));
    pair.sender.flush();
    pair.drain(10, 1);
  }
  pair.drain(10, 1001);
  assert.equal(pair.received.length, 4096);
  assert.equal(pair.receiver.faultDroppedMessages, 5000 - 4096);
});

test('a handler that throws loses the one delayed message it was given', () => {
  const pair = createPair(4096);
  new LinkFaults(pair.link).set({ delayMsMin: 1, delayMsMax: 1 });
  for (let id = 0; id < 3; id++) pair.sender.send(EnvelopeKind.Raft, 0, id, message(id, 8));
  pair.sender.flush();
  pair.drain(10, 1000);
  assert.throws(() => {
    pair.receiver.drain(() => assert.fail('no'), 10, 1001);
  }, /no/);
  pair.drain(10, 1001);
  assert.deepEqual(
    pair.received.map(({ id }) => id),
    [1, 2],
  );
});

test('switches are read back as set, and refuse nonsense', () => {
  const { link } = createPair(1024);
  const faults = new LinkFaults(link);
  assert.deepEqual(faults.get(), NO_FAULTS);
  const all = { cut: true, dropPermille: 1, delayMsMin: 2, delayMsMax: 3, duplicatePermille: 4, reorderPermille: 5 };
  faults.set(all);
  assert.deepEqual(new LinkFaults(link).get(), all);
  faults.set({ cut: false });
  assert.deepEqual(faults.get(), NO_FAULTS);
  assert.throws(() => faults.set({ dropPermille: 1001 }), /permille/);
  assert.throws(() => faults.set({ delayMsMin: 5, delayMsMax: 4 }), /delay/);
});

test('a link with faults needs a clock', () => {
  const { link, drain } = createPair(1024);
  new LinkFaults(link).set({ dropPermille: 1 });
  assert.throws(() => drain(), /clock/);
});
