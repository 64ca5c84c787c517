/**
 * How long a call waits for its body: a made-up exchange and a made-up clock.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, it, mock } from 'node:test';
import { bodyTimeoutMs, discardBody } from '../../../src/host/gateway/exchange.js';
import { serveGateway } from '../../../src/host/gateway/gateway.js';
import type { Call, CallListener } from '../../../src/host/grpc/call.js';
import { encode } from '../../../src/wire/schema.js';
import { FakeExchange } from './fake-exchange.js';

let heard: string[] = [];
let call: Call | undefined;
beforeEach(() => {
  heard = [];
  call = undefined;
  mock.timers.enable({ apis: ['setTimeout'] });
});
afterEach(() => mock.timers.reset());

/** Hears a call and does nothing for it; cancelled calls stop at once. */
function service(opened: Call): CallListener {
  call = opened;
  return {
    message: () => void heard.push('message'),
    halfClose: () => void heard.push('half-close'),
    cancel: reason => {
      heard.push(`cancel ${reason}`);
      opened.end(1, '');
    },
  };
}

function begin(path: string): FakeExchange {
  const exchange = new FakeExchange();
  serveGateway({ service, receiveBytesMax: 1_000 }, exchange, path);
  return exchange;
}

const justBefore = bodyTimeoutMs - 1;

it('a unary call’s body comes in time, or not at all', () => {
  const exchange = begin('/v3/kv/put');
  exchange.send('{"key":');
  mock.timers.tick(justBefore);
  assert.deepEqual(exchange.did, []);
  mock.timers.tick(1);
  assert.deepEqual(exchange.did, ['respond 504', 'release', 'abort']);
  assert.deepEqual(heard, []);
});

it('a unary call may take its time once it has its message; the rest of the body may not', () => {
  const exchange = begin('/v3/lock/lock');
  exchange.send('{} ');
  mock.timers.tick(10 * bodyTimeoutMs);
  assert.deepEqual([heard, exchange.did], [['message', 'half-close'], []]);
  call?.reply(encode('v3lockpb.LockResponse', {}));
  assert.deepEqual(exchange.did, ['respond 200', 'release']);
  mock.timers.tick(bodyTimeoutMs);
  assert.deepEqual(exchange.did, ['respond 200', 'release', 'abort']);
});

it('a stream may be silent between two objects, but neither before the first nor within one', () => {
  const silent = begin('/v3/watch');
  silent.send('  ');
  mock.timers.tick(bodyTimeoutMs);
  assert.deepEqual(silent.did, ['respond 504', 'release', 'abort']);
  assert.deepEqual(heard.splice(0), ['cancel protocol']);

  const exchange = begin('/v3/watch');
  exchange.send('{"progress_request":{}}');
  mock.timers.tick(10 * bodyTimeoutMs);
  call?.sendMessage(encode('etcdserverpb.WatchResponse', { created: true }));
  exchange.send('{"progress_request":');
  mock.timers.tick(justBefore);
  exchange.send('{}} {"progress');
  mock.timers.tick(justBefore);
  assert.deepEqual(heard, ['message', 'message']);
  mock.timers.tick(1);
  assert.deepEqual(exchange.did.slice(0, 2), ['begin 200', '{"result":{"created":true}}']);
  assert.deepEqual(exchange.did.slice(3), ['end', 'release', 'abort']);
  assert.deepEqual(heard, ['message', 'message', 'cancel protocol']);
});

it('the answer over, no timer is left when the body is', () => {
  const exchange = begin('/v3/kv/put');
  exchange.send('{}');
  exchange.gate.end();
  call?.end(5, 'no');
  call?.end(5, 'no');
  mock.timers.tick(10 * bodyTimeoutMs);
  assert.deepEqual(exchange.did, ['respond 404', 'release']);
});

it('a client that goes is heard of once, and releases the exchange when the service has stopped', () => {
  const exchange = begin('/v3/kv/put');
  exchange.send('{}');
  exchange.gate.gone('client');
  exchange.gate.gone('client');
  mock.timers.tick(10 * bodyTimeoutMs);
  assert.deepEqual([heard, exchange.did], [['message', 'half-close', 'cancel client'], ['release']]);
  assert.equal(call?.sendMessage(new Uint8Array()), false);
});

it('a reader that lets too much pile up is cut off', () => {
  const exchange = begin('/v3/watch');
  exchange.unsentBytes = 17 * 1024 * 1024;
  assert.equal(call?.sendMessage(new Uint8Array()), false);
  assert.deepEqual([heard, exchange.did], [['cancel slow-reader'], ['abort', 'release']]);
});

it('a body that nobody wants is read for a while', () => {
  const exchange = new FakeExchange();
  discardBody(exchange);
  exchange.send('abc');
  mock.timers.tick(justBefore);
  assert.deepEqual(exchange.did, []);
  mock.timers.tick(1);
  assert.deepEqual(exchange.did, ['abort', 'release']);
  const complete = new FakeExchange();
  discardBody(complete);
  complete.gate.end();
  mock.timers.tick(bodyTimeoutMs);
  assert.deepEqual(complete.did, ['release']);
});
