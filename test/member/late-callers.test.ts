/** Calls that wait for the login of their caller: in order, bounded, and each leaves once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LateCallers } from '../../src/member/late-callers.js';
import type { Caller } from '../../src/transport/caller.js';
import { EnvelopeKind } from '../../src/transport/envelope.js';

const { Open, Message, HalfClose, Cancel, Control } = EnvelopeKind;
const token = (text: string): Caller => ({ kind: 'token', text, revision: 0 });
const timeoutMs = 7_000;

function released(late: LateCallers, appliedIndex: number, nowMs: number): string[] {
  const records: string[] = [];
  late.release(appliedIndex, nowMs, timeoutMs, (kind, aux, id, payload, flags) =>
    records.push(`${kind}/${aux} #${id} ${Buffer.from(payload).toString()} ${flags}`),
  );
  return records;
}

test('only a token of a login that is still to come waits', () => {
  const late = new LateCallers();
  assert.equal(late.mustWait(token('abc.11'), 10), true);
  assert.equal(late.mustWait(token('abc.10'), 10), false);
  assert.equal(late.mustWait(token('garbage'), 10), false);
  assert.equal(late.mustWait({ kind: 'commonName', text: 'abc.11', revision: 0 }, 10), false);
  assert.equal(late.mustWait(undefined, 10), false);
});

test('what follows a call that waits goes on behind it; a cancelled one is forgotten', () => {
  const late = new LateCallers();
  const payload = Buffer.from('one');
  late.hold(1, token('abc.11'), 5, payload, 9, 1_000);
  payload.fill(0);
  late.hold(2, token('abc.12'), 6, Buffer.from('two'), 8, 1_000);
  assert.equal(late.keeps(Message, 0, 1, Buffer.from('more'), 0), true);
  assert.equal(late.keeps(HalfClose, 0, 1, Buffer.from(''), 0), true);
  assert.equal(late.keeps(Message, 0, 3, Buffer.from('another'), 0), false);
  assert.equal(late.keeps(Control, 2, 1, Buffer.from(''), 0), false, 'a notice about something else that is number 1');
  assert.deepEqual(released(late, 10, 1_000), []);
  assert.deepEqual(released(late, 11, 1_000), [`${Open}/5 #1 one 9`, `${Message}/0 #1 more 0`, `${HalfClose}/0 #1  0`]);
  assert.equal(late.keeps(Message, 0, 1, Buffer.from('more'), 0), false);
  assert.equal(late.keeps(Cancel, 0, 2, Buffer.from(''), 0), true);
  assert.equal(late.size, 0);
});

test('a login that does not come: when the time is up the call goes on without it', () => {
  const late = new LateCallers();
  late.hold(1, token('abc.999'), 5, Buffer.from('one'), 0, 1_000);
  assert.deepEqual(released(late, 10, 7_999), []);
  assert.deepEqual(released(late, 10, 8_000), [`${Open}/5 #1 one 0`]);
});

test('what waits is bounded, and room comes back', () => {
  const late = new LateCallers();
  let held = 0;
  while (late.mustWait(token('abc.999'), 10)) late.hold(++held, token('abc.999'), 5, Buffer.alloc(1 << 20), 0, 0);
  assert.equal(held, 16);
  assert.equal(late.keeps(Cancel, 0, 7, Buffer.from(''), 0), true);
  assert.equal(late.mustWait(token('abc.999'), 10), true);
  const ended: number[] = [];
  late.failAll(id => ended.push(id));
  assert.deepEqual([ended.length, late.size], [15, 0]);
});
