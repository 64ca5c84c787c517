import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '../../src/base/bytes.js';
import { EtcdError } from '../../src/client/channel.js';
import { ClosedError, CompactedError } from '../../src/client/errors.js';
import { Watch } from '../../src/client/watch.js';
import { GrpcCode } from '../../src/wire/errors.js';
import type { MessageInput } from '../../src/wire/schema.js';
import { ScriptedChannel, type ScriptedStream } from './scripted-channel.js';
import { take } from './targets.js';

type Response = MessageInput<'etcdserverpb.WatchResponse'>;

const gone = new EtcdError(GrpcCode.Unavailable, 'gone');

function answer(stream: ScriptedStream, response: Response): void {
  stream.answer('etcdserverpb.WatchResponse', response);
}

function events(revision: number, ...revisions: number[]): Response {
  const list = revisions.map((mod_revision, i) => ({
    kv: { key: utf8Encode(`k${i}`), value: new Uint8Array(0), mod_revision, create_revision: 1, version: 2 },
  }));
  return { header: { revision }, events: list };
}

function startOf(stream: ScriptedStream): bigint | undefined {
  return stream.sent('etcdserverpb.WatchRequest')[0]?.create_request?.start_revision;
}

async function open(options = {}) {
  const channel = new ScriptedChannel();
  const watch = new Watch(channel, 'k', options);
  const stream = await channel.opened(0);
  return { channel, watch, stream, batches: watch.batches() };
}

test('goes on behind the last event, and behind the creation when there was none', async () => {
  const { channel, watch, stream, batches } = await open();
  assert.equal(startOf(stream), 0n);
  assert.equal(stream.options.requireLeader, true);
  answer(stream, { header: { revision: 7 }, created: true });
  assert.equal(await watch.created, 7);
  stream.listener.end(gone);
  const second = await channel.opened(1);
  assert.equal(startOf(second), 8n);
  answer(second, { header: { revision: 9 }, created: true });
  answer(second, events(12, 10, 11));
  second.listener.end(new EtcdError(GrpcCode.Internal, 'reset'));
  const third = await channel.opened(2);
  assert.equal(startOf(third), 12n);
  // A server that starts too early repeats itself.
  answer(third, events(13, 11, 12, 13));
  const seen = (await take(batches, 2)).flatMap(batch => batch.events.map(event => event.revision));
  assert.deepEqual(seen, [10, 11, 12, 13]);
  watch.cancel();
  assert.equal(third.cancelled, true);
});

test('goes on behind what a notification says is complete, not behind an answer to a request', async () => {
  const { channel, watch, stream, batches } = await open({ startRevision: 5 });
  answer(stream, { header: { revision: 9 }, created: true });
  answer(stream, { header: { revision: 20 }, watch_id: -1 });
  stream.listener.end(undefined);
  const second = await channel.opened(1);
  assert.equal(startOf(second), 5n);
  answer(second, { header: { revision: 20 } });
  second.listener.end(gone);
  assert.equal(startOf(await channel.opened(2)), 21n);
  assert.deepEqual(
    (await take(batches, 2)).map(({ isProgress, revision }) => [isProgress, revision]),
    [
      [true, 20],
      [true, 20],
    ],
  );
  watch.cancel();
});

test('fragments are one batch; one that was cut off is asked for again', async () => {
  const { channel, watch, stream, batches } = await open({ fragment: true });
  answer(stream, { header: { revision: 1 }, created: true });
  answer(stream, { ...events(2, 2, 2), fragment: true });
  stream.listener.end(gone);
  const second = await channel.opened(1);
  assert.equal(startOf(second), 2n);
  answer(second, { ...events(2, 2, 2), fragment: true });
  answer(second, events(2, 2));
  const [batch] = await take(batches, 1);
  assert.deepEqual(
    batch?.events.map(event => event.revision),
    [2, 2, 2],
  );
  watch.cancel();
});

test('the stream stands while a mebibyte waits, also over a disconnect', async context => {
  const { channel, watch, stream, batches } = await open();
  answer(stream, { header: { revision: 1 }, created: true });
  const value = new Uint8Array(300_000);
  const big = (revision: number): Response => ({
    header: { revision },
    events: [{ kv: { key: utf8Encode('k'), value, mod_revision: revision } }],
  });
  for (const revision of [2, 3, 4]) answer(stream, big(revision));
  assert.equal(stream.paused, false);
  answer(stream, big(5));
  assert.equal(stream.paused, true);
  await take(batches, 1);
  assert.equal(stream.paused, true);
  await take(batches, 2);
  assert.equal(stream.paused, false);
  for (const revision of [6, 7, 8]) answer(stream, big(revision));
  assert.equal(stream.paused, true);
  context.mock.timers.enable({ apis: ['setTimeout'] });
  stream.listener.end(gone);
  await take(batches, 1);
  context.mock.timers.tick(60_000);
  assert.equal(channel.streams.length, 1, 'who is behind opens nothing new');
  await take(batches, 3);
  assert.equal(startOf(await channel.opened(1)), 9n);
  watch.cancel();
});

test('ends for good: compaction, refusals, a closed client, a message that is none', async () => {
  const ends: readonly [(stream: ScriptedStream) => void, (error: Error) => boolean][] = [
    [
      stream => answer(stream, { canceled: true, compact_revision: 9 }),
      error => error instanceof CompactedError && error.compactRevision === 9,
    ],
    [
      stream =>
        answer(stream, {
          created: true,
          canceled: true,
          watch_id: -1,
          cancel_reason: 'rpc error: code = PermissionDenied desc = etcdserver: permission denied',
        }),
      error =>
        error instanceof EtcdError &&
        error.code === GrpcCode.PermissionDenied &&
        error.message === 'etcdserver: permission denied',
    ],
    [
      stream => answer(stream, { canceled: true, cancel_reason: 'mvcc: watcher range is empty' }),
      error => error instanceof EtcdError && error.message === 'mvcc: watcher range is empty',
    ],
    [stream => stream.listener.end(new ClosedError()), error => error instanceof ClosedError],
    [
      stream => stream.listener.end(new EtcdError(GrpcCode.Unauthenticated, 'etcdserver: invalid auth token')),
      error => error.message === 'etcdserver: invalid auth token',
    ],
    [stream => stream.listener.message(Uint8Array.of(0x5a, 0x7f)), error => error.message === 'unexpected EOF'],
  ];
  for (const [end, check] of ends) {
    const { watch, stream, batches } = await open();
    answer(stream, { header: { revision: 1 }, created: true });
    answer(stream, events(2, 2));
    end(stream);
    assert.equal((await take(batches, 1)).length, 1, 'what came before is delivered');
    await assert.rejects(batches.next(), check);
    assert.equal((await batches.next()).done, true);
    watch.cancel();
  }
});
