import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { utf8Encode } from '../../../src/base/bytes.js';
import { openConcurrency } from '../../../src/host/api/concurrency.js';
import type { Call, CallListener } from '../../../src/host/grpc/call.js';
import { type Cluster, startCluster } from '../../../src/index.js';
import { GrpcCode } from '../../../src/wire/errors.js';
import { Method, methodByNumber } from '../../../src/wire/methods.js';
import { decode, encode } from '../../../src/wire/schema.js';

/** The server's end of a call, played: what is sent is kept, the connection is always full. */
class PlayedCall implements Call {
  readonly path = '';
  readonly metadata = { get: () => undefined, getAll: () => [], getBytes: () => undefined, names: () => [] };
  readonly deadlineMs = undefined;
  readonly peer = { address: '', port: 0, commonName: undefined };
  readonly unsentBytes = 0;
  readonly messages: Uint8Array[] = [];
  readonly ended: Promise<string>;
  #onEnd!: (how: string) => void;
  #onMessage = (): void => {};

  constructor() {
    this.ended = new Promise(resolve => {
      this.#onEnd = resolve;
    });
  }

  reply(message: Uint8Array): void {
    this.messages.push(message.slice());
    this.#onEnd('reply');
  }

  sendMessage(message: Uint8Array): boolean {
    this.messages.push(message.slice());
    this.#onMessage();
    return false;
  }

  end(code: number, text: string): void {
    this.#onEnd(`${code} ${text}`);
  }

  async message(count: number): Promise<void> {
    while (this.messages.length < count) {
      await new Promise<void>(resolve => {
        this.#onMessage = resolve;
      });
    }
  }
}

let cluster: Cluster;
before(async () => {
  cluster = await startCluster({ members: 1, logLevel: 'silent' });
});
after(() => cluster.close());

function open(method: Method, call: PlayedCall): CallListener {
  return openConcurrency(call, methodByNumber(method)!, cluster.client());
}

function valuesOf(call: PlayedCall): string[] {
  return call.messages.map(bytes => new TextDecoder().decode(decode('v3electionpb.LeaderResponse', bytes).kv?.value));
}

test('Observe sends one message, and the next when the connection has room', async () => {
  const client = cluster.client();
  const leadership = await client.election('o').campaign('one');
  const call = new PlayedCall();
  const listener = open(Method.Observe, call);
  listener.message(encode('v3electionpb.LeaderRequest', { name: utf8Encode('o') }));
  await call.message(1);
  // Another observer that sees the new values shows that this one could have.
  const other = client.election('o').observe();
  assert.equal((await other.next()).value?.value, 'one');
  for (const value of ['two', 'three']) {
    await leadership.proclaim(value);
    assert.equal((await other.next()).value?.value, value);
  }
  assert.deepEqual(valuesOf(call), ['one']);
  listener.drain?.();
  await call.message(2);
  assert.deepEqual(valuesOf(call), ['one', 'two']);
  listener.drain?.();
  await call.message(3);
  assert.deepEqual(valuesOf(call), ['one', 'two', 'three']);
  // Cancelled while it waits for room: the work stops and says so.
  listener.cancel('client');
  assert.equal(await call.ended, '1 context canceled');
  await other.return();
  await leadership.resign();
});

test('a cancelled Lock has ended when its key is gone', async () => {
  const client = cluster.client();
  const held = await client.lock('l');
  const call = new PlayedCall();
  const listener = open(Method.Lock, call);
  const lease = (await client.leaseGrant({ ttlSeconds: 100 })).id;
  const own = `l/${lease.toString(16)}`;
  const watch = client.watch(own);
  await watch.created;
  listener.message(encode('v3lockpb.LockRequest', { name: utf8Encode('l'), lease }));
  for await (const { type } of watch) if (type === 'put') break;
  listener.cancel('deadline');
  await call.ended;
  assert.equal(await client.get(own), undefined);
  await held.unlock();
});

test('no message, two messages, what is no message', async () => {
  const none = new PlayedCall();
  open(Method.Leader, none).halfClose();
  assert.equal(await none.ended, '13 kvorum: a unary call without a request message');
  const two = new PlayedCall();
  const listener = open(Method.Observe, two);
  const request = encode('v3electionpb.LeaderRequest', { name: utf8Encode('nobody') });
  listener.message(request);
  listener.message(request);
  assert.equal(await two.ended, '13 kvorum: more than one request message for a unary call');
  const bad = new PlayedCall();
  open(Method.Campaign, bad).message(Uint8Array.of(0x0a, 0x05));
  assert.equal(await bad.ended, `${GrpcCode.Internal} grpc: error unmarshalling request: unexpected EOF`);
  const early = new PlayedCall();
  open(Method.Lock, early).cancel('client');
  assert.equal(await early.ended, '1 context canceled');
});
