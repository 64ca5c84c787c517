import assert from 'node:assert/strict';
import { CompactedError, EtcdError, type WatchEvent } from '../../src/index.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { againstEveryTarget, take } from './targets.js';

function brief({ type, kv, revision }: WatchEvent): string {
  return `${type} ${kv.key}=${kv.value} @${revision}`;
}

againstEveryTarget({
  'events of a prefix in order, with what was there before': async target => {
    const client = target.client();
    const watch = client.watch({ prefix: 'a/' }, { previous: true });
    const revision = await watch.created;
    await client.put('a/1', 'x');
    await client.put('b', 'not seen');
    await client.put('a/1', 'y');
    await client.delete('a/1');
    const events = await take(watch[Symbol.asyncIterator](), 3);
    assert.deepEqual(events.map(brief), [
      `put a/1=x @${revision + 1}`,
      `put a/1=y @${revision + 3}`,
      `delete a/1= @${revision + 4}`,
    ]);
    assert.deepEqual(
      events.map(({ previous, isCreate }) => [previous?.value, isCreate]),
      [
        [undefined, true],
        ['x', false],
        ['y', false],
      ],
    );
    watch.cancel();
    assert.deepEqual(await take(watch[Symbol.asyncIterator](), 1), []);
  },

  'history from a revision on; a filter; whole revisions': async target => {
    const client = target.client();
    const { revision } = await client.put('h/1', '1');
    await client.txn({
      success: [{ put: 'h/2', value: '2' }, { put: 'h/3', value: '3' }, { delete: 'h/1' }],
    });
    await client.put('h/4', '4');
    const seen: string[] = [];
    for await (const event of client.watch({ prefix: 'h/' }, { startRevision: revision, filter: 'noDelete' })) {
      seen.push(event.kv.key);
      if (seen.length === 4) break;
    }
    assert.deepEqual(seen, ['h/1', 'h/2', 'h/3', 'h/4']);
    const sizes = new Map<number, number>();
    for await (const { events } of client.watch({ prefix: 'h/' }, { startRevision: revision }).batches()) {
      const revisions = new Set(events.map(event => event.revision));
      for (const one of revisions) assert.equal(sizes.has(one), false, 'a revision is in one batch');
      for (const event of events) sizes.set(event.revision, (sizes.get(event.revision) ?? 0) + 1);
      if (sizes.has(revision + 2)) break;
    }
    assert.deepEqual([...sizes.values()], [1, 3, 1]);
  },

  'a future revision: nothing before it': async target => {
    const client = target.client();
    const { revision } = await client.put('f', '0');
    const watch = client.watch('f', { startRevision: revision + 3 });
    await watch.created;
    for (const value of ['1', '2', '3']) await client.put('f', value);
    const [event] = await take(watch[Symbol.asyncIterator](), 1);
    assert.equal(event?.kv.value, '3');
    watch.cancel();
  },

  'a compacted revision is an error of its own': async target => {
    const client = target.client();
    const { revision } = await client.put('c', '1');
    await client.put('c', '2');
    await client.put('c', '3');
    await client.compact(revision + 2);
    const watch = client.watch('c', { startRevision: revision });
    await assert.rejects(take(watch[Symbol.asyncIterator](), 1), (error: unknown) => {
      assert.ok(error instanceof CompactedError);
      assert.equal(error.compactRevision, revision + 2);
      assert.equal(error.code, GrpcCode.OutOfRange);
      assert.equal(error.message, 'etcdserver: mvcc: required revision has been compacted');
      return true;
    });
    for await (const event of client.watch('c', { startRevision: revision + 2 })) {
      assert.equal(event.kv.value, '3');
      break;
    }
  },

  'a refused watch says why': async target => {
    const watch = target.client().watch({ from: 'b', to: 'a' });
    await assert.rejects(take(watch[Symbol.asyncIterator](), 1), EtcdError);
    await assert.rejects(watch.created, EtcdError);
  },

  'progress on request': async target => {
    const client = target.client();
    const watch = client.watch('p');
    await watch.created;
    const { revision } = await client.put('p', '1');
    const batches = watch.batches();
    assert.equal((await take(batches, 1))[0]?.events.length, 1);
    watch.requestProgress();
    const [progress] = await take(batches, 1);
    assert.deepEqual([progress?.isProgress, progress?.events.length], [true, 0]);
    assert.ok(progress!.revision >= revision);
    watch.cancel();
  },

  'abort, before and during': async target => {
    const client = target.client();
    const controller = new AbortController();
    const iterator = client.watch('x', { signal: controller.signal })[Symbol.asyncIterator]();
    const next = iterator.next();
    const reason = new Error('enough');
    controller.abort(reason);
    await assert.rejects(next, reason);
    assert.deepEqual(await iterator.next(), { value: undefined, done: true });
    await assert.rejects(take(client.watch('x', { signal: controller.signal })[Symbol.asyncIterator](), 1), reason);
    const late = take(client.watch('x', { timeoutMs: 20 })[Symbol.asyncIterator](), 1);
    await assert.rejects(late, { code: GrpcCode.DeadlineExceeded });
  },

  'a slow reader stops its stream and misses nothing': async target => {
    const client = target.client();
    const slow = client.watch({ prefix: 's/' });
    await slow.created;
    const value = 'v'.repeat(64 * 1024);
    const count = 200;
    for (let i = 0; i < count; i++) await client.put(`s/${i}`, value);
    const seen = await take(slow[Symbol.asyncIterator](), count);
    assert.deepEqual(
      seen.map(event => event.kv.key),
      Array.from({ length: count }, (_, i) => `s/${i}`),
    );
    slow.cancel();
  },

  'a server that comes back: every event once': async target => {
    const client = target.client();
    const writer = target.client();
    const idle = client.watch('r/idle');
    const busy = client.watch({ prefix: 'r/' });
    const created = await idle.created;
    await busy.created;
    const iterator = busy[Symbol.asyncIterator]();
    await writer.put('r/1', '1');
    assert.equal((await take(iterator, 1))[0]?.kv.key, 'r/1');
    await target.down();
    await target.up();
    // A leader may not be there at once: a write that fails so had no effect, or is done again with the same value.
    await untilDone(() => writer.put('r/2', '2'));
    await writer.put('r/idle', '3');
    const seen = await take(iterator, 2);
    assert.deepEqual([...new Set(seen.map(event => event.kv.key))], ['r/2', 'r/idle']);
    const [event] = await take(idle[Symbol.asyncIterator](), 1);
    assert.ok(event!.revision > created);
    assert.equal(event?.kv.value, '3');
    idle.cancel();
    busy.cancel();
  },
});

/** Repeats what may be repeated while the server is not there yet. */
async function untilDone<Value>(work: () => Promise<Value>): Promise<Value> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof EtcdError && error.code === GrpcCode.Unavailable)) throw error;
    }
  }
}
