/** Large answers are made in pieces, between which others are heard; together they are the answer made at once. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as nextRound } from 'node:timers/promises';
import { Prng } from '../../../src/base/prng.js';
import { serveGateway } from '../../../src/host/gateway/gateway.js';
import { messageToJson, messageToJsonPieces } from '../../../src/host/gateway/json.js';
import type { Call, CallListener } from '../../../src/host/grpc/call.js';
import { methods } from '../../../src/wire/methods.js';
import { encode, isMessageName } from '../../../src/wire/schema.js';
import { randomMessage } from '../../wire/random-message.js';
import { FakeExchange } from './fake-exchange.js';

const range = 'etcdserverpb.RangeResponse';

function rangeOf(keys: number, valueBytes: number): Uint8Array {
  const value = Buffer.alloc(valueBytes, 'v');
  const kvs = Array.from({ length: keys }, (_, at) => ({ key: Buffer.from(`key-${at}`), value, version: BigInt(at) }));
  return encode(range, { header: { revision: 7n }, kvs, more: true, count: BigInt(keys) });
}

it('every message in pieces is what it is at once', () => {
  const prng = new Prng(1);
  for (const { response } of methods) {
    if (!isMessageName(response)) continue;
    for (let round = 0; round < 30; round += 1) {
      const bytes: Uint8Array = encode(response, randomMessage(prng, response, 3) as object);
      assert.equal([...messageToJsonPieces(response, bytes)].join(''), messageToJson(response, bytes), response);
    }
  }
  for (const bytes of [rangeOf(0, 0), rangeOf(1, 0), rangeOf(5_000, 100), encode(range, {})]) {
    assert.equal([...messageToJsonPieces(range, bytes)].join(''), messageToJson(range, bytes));
  }
});

it('a list that does not stand together is made at once', () => {
  const [one, other] = [rangeOf(3, 10), rangeOf(2, 10)];
  const bytes = Buffer.concat([one, other]);
  assert.deepEqual([...messageToJsonPieces(range, bytes)], [messageToJson(range, bytes)]);
});

/** Asks for a range whose answer is `message`. */
function ask(message: Uint8Array): FakeExchange {
  const service = (call: Call): CallListener => ({
    message() {},
    halfClose: () => call.reply(message),
    cancel() {},
  });
  const exchange = new FakeExchange();
  serveGateway({ service, receiveBytesMax: 1_000 }, exchange, '/v3/kv/range');
  exchange.send('{"key":"AA=="}');
  exchange.gate.end();
  return exchange;
}

it('another call is answered between the pieces of a large answer', async () => {
  const large = rangeOf(10_000, 100);
  const copy = large.slice();
  const exchange = ask(large);
  large.fill(0);
  const small = ask(rangeOf(1, 1));
  assert.deepEqual(small.did, ['respond 200', 'release']);
  assert.equal(exchange.did.includes('end'), false, 'the large answer is not over');
  while (!exchange.did.includes('release')) await nextRound();
  const [begun, ...pieces] = exchange.did.slice(0, -2);
  assert.equal(begun, 'begin 200');
  assert.ok(pieces.length > 10 && pieces.every(piece => piece.length < 2 ** 17), `${pieces.length} pieces`);
  assert.equal(pieces.join(''), messageToJson(range, copy));
  assert.deepEqual(exchange.did.slice(-2), ['end', 'release']);
});

it('a client that goes away ends the work', async () => {
  const exchange = ask(rangeOf(10_000, 100));
  const { length } = exchange.did;
  exchange.gate.gone('client');
  for (let round = 0; round < 10; round += 1) await nextRound();
  assert.deepEqual(exchange.did.slice(length), ['release']);
});
