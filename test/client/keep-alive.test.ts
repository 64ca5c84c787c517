import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { EtcdError } from '../../src/client/channel.js';
import { ClosedError } from '../../src/client/errors.js';
import { LeaseKeeper } from '../../src/client/keep-alive.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { ScriptedChannel, type ScriptedStream } from './scripted-channel.js';

const gone = new EtcdError(GrpcCode.Unavailable, 'gone');

/** A keeper on a clock that the test turns. */
function start(context: TestContext) {
  let nowMs = 1_000;
  context.mock.timers.enable({ apis: ['setTimeout'] });
  context.mock.method(performance, 'now', () => nowMs);
  const channel = new ScriptedChannel();
  const keeper = new LeaseKeeper(channel);
  const lost: string[] = [];
  return {
    channel,
    keeper,
    lost,
    keep: (id: bigint, ttlSeconds: number) =>
      keeper.keep({ id, lost: how => lost.push(`${id} ${how}`) }, ttlSeconds, nowMs),
    advance: (ms: number) => {
      for (let i = 0; i < ms; i += 100) {
        nowMs += 100;
        context.mock.timers.tick(100);
      }
    },
  };
}

function asked(stream: ScriptedStream | undefined): bigint[] {
  return stream?.sent('etcdserverpb.LeaseKeepAliveRequest').map(({ ID }) => ID) ?? [];
}

function answer(stream: ScriptedStream, id: bigint, ttlSeconds: number): void {
  stream.answer('etcdserverpb.LeaseKeepAliveResponse', { ID: id, TTL: ttlSeconds });
}

test('asks three times a TTL, over one stream for all leases, until dropped', context => {
  const { channel, keeper, lost, keep, advance } = start(context);
  keep(1n, 9);
  keep(2n, 18);
  advance(2_900);
  assert.equal(channel.streams.length, 0);
  for (let i = 0; i < 6; i++) {
    advance(3_000);
    const stream = channel.streams[0]!;
    const fresh = asked(stream).slice(-2);
    answer(stream, 1n, 9);
    if (fresh.includes(2n)) answer(stream, 2n, 18);
  }
  assert.equal(channel.streams.length, 1);
  assert.equal(channel.streams[0]?.options.requireLeader, true);
  assert.equal(asked(channel.streams[0]).filter(id => id === 1n).length, 6);
  assert.equal(asked(channel.streams[0]).filter(id => id === 2n).length, 3);
  keeper.drop(1n);
  assert.equal(channel.streams[0]?.cancelled, false);
  keeper.drop(2n);
  assert.equal(channel.streams[0]?.cancelled, true);
  advance(60_000);
  assert.deepEqual(lost, []);
});

test('a lease counts from the request, not from the answer', context => {
  const { channel, lost, keep, advance } = start(context);
  keep(1n, 9);
  advance(3_000);
  advance(2_900);
  answer(channel.streams[0]!, 1n, 9);
  // Asked at 3 s, answered at 5.9 s: it lives until 12 s, whatever is asked in between.
  advance(6_000);
  assert.deepEqual(lost, []);
  advance(200);
  assert.deepEqual(lost, ['1 it could not be renewed in time']);
});

test('no answer: another stream, elsewhere, for all that wait; lost when its time has passed', context => {
  const { channel, lost, keep, advance } = start(context);
  keep(1n, 9);
  keep(2n, 9);
  advance(3_000);
  assert.deepEqual(asked(channel.streams[0]), [1n, 2n]);
  answer(channel.streams[0]!, 2n, 9);
  advance(3_000);
  assert.equal(channel.streams[0]?.cancelled, true);
  assert.equal(channel.streams[1]?.options.elsewhere, true);
  assert.deepEqual(asked(channel.streams[1]), [1n, 2n]);
  // An answer to what the first stream was asked is not heard any more; one of the new stream is.
  answer(channel.streams[1]!, 2n, 9);
  advance(3_000);
  assert.deepEqual(lost, ['1 it could not be renewed in time']);
});

test('a stream that ends is opened again after a while', context => {
  const { channel, lost, keep, advance } = start(context);
  keep(1n, 9);
  advance(3_000);
  channel.streams[0]?.listener.end(gone);
  assert.equal(channel.streams.length, 1);
  advance(100);
  assert.deepEqual(asked(channel.streams[1]), [1n]);
  answer(channel.streams[1]!, 1n, 9);
  channel.streams[1]?.listener.end(undefined);
  advance(3_000);
  assert.deepEqual(asked(channel.streams.at(-1)), [1n]);
  assert.deepEqual(lost, []);
});

test('unknown to the server, or a closed client: lost at once', context => {
  const { channel, lost, keep, advance } = start(context);
  keep(1n, 9);
  keep(2n, 9);
  keep(3n, 9);
  advance(3_000);
  answer(channel.streams[0]!, 2n, 0);
  assert.deepEqual(lost, ['2 the server does not know it any more']);
  channel.streams[0]?.listener.end(new ClosedError());
  assert.deepEqual(lost.slice(1), ['1 the client is closed', '3 the client is closed']);
  advance(60_000);
  assert.equal(channel.streams.length, 1);
});

test('a TTL longer than any timer', context => {
  const { channel, lost, keep, advance } = start(context);
  keep(1n, 9_000_000_000);
  advance(10_000);
  assert.equal(channel.streams.length, 0);
  assert.deepEqual(lost, []);
});
