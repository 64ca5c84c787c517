import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FanOutTargets, readFanOut } from '../../src/transport/fan-out.js';
import { CreditReturn, messageOverheadBytes, streamCreditBytes } from '../../src/transport/stream-credit.js';

test('every target of a record gets its head and the one body', () => {
  const targets = new FanOutTargets();
  targets.add(99, new Uint8Array([9]));
  targets.reset();
  const wanted: [number, string, string][] = [];
  for (let id = 0; id < 1_000; id += 1) {
    const head = Buffer.from('h'.repeat(id % 12));
    targets.add(id * 4_000_000, head);
    wanted.push([id * 4_000_000, head.toString(), 'the body']);
  }
  assert.equal(targets.count, 1_000);
  const payload = Buffer.concat([targets.finish(), Buffer.from('the body')]);
  const heard: [number, string, string][] = [];
  const bodies = new Set<Uint8Array>();
  readFanOut(payload, (streamId, head, body) => {
    heard.push([streamId, Buffer.from(head).toString(), Buffer.from(body).toString()]);
    bodies.add(body);
  });
  assert.deepEqual(heard, wanted);
  assert.equal(bodies.size, 1, 'the body lies in memory once');
});

test('a fanned out body outlives the record it came in', () => {
  const targets = new FanOutTargets();
  targets.add(1, new Uint8Array(0));
  const payload = Buffer.concat([targets.finish(), Buffer.from('kept')]);
  let kept: Uint8Array | undefined;
  readFanOut(payload, (_streamId, _head, body) => {
    kept = body;
  });
  payload.fill(0);
  assert.equal(Buffer.from(kept ?? []).toString(), 'kept');
});

test('credit comes back in steps, and not while the client does not keep up', () => {
  const credit = new CreditReturn();
  const message = 1024 - messageOverheadBytes;
  for (let sent = 1; sent < streamCreditBytes / 4 / 1024; sent += 1) assert.equal(credit.sent(message, true), 0);
  assert.equal(credit.sent(message, true), streamCreditBytes / 4, 'the step that completes a quarter gives it back');
  assert.equal(credit.sent(streamCreditBytes, false), 0, 'blocked');
  assert.equal(credit.sent(message, true), 0, 'still blocked: only the drain ends it');
  assert.equal(credit.drained(), streamCreditBytes + messageOverheadBytes + 1024);
  assert.equal(credit.drained(), 0, 'nothing is given back twice');
});
