/** The hand-written watch messages against the generic codec. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResponseHeaderTemplate } from '../../src/wire/header.js';
import { encodeKeyValue } from '../../src/wire/kv.js';
import { encode } from '../../src/wire/schema.js';
import {
  beginDeleteEvent,
  beginPutEvent,
  encodeWatchResponse,
  eventSize,
  finishEvent,
  WatchCancelReason,
  type WatchNotice,
  watchIdSize,
} from '../../src/wire/watch.js';

const key = Buffer.from('key');
const kv = { key, createRevision: 3, modRevision: 300, version: 2, value: Buffer.alloc(200, 'v'), lease: -5n };
const message = {
  key,
  create_revision: 3,
  mod_revision: 300,
  version: 2,
  value: kv.value,
  lease: -5n,
};
const header = new ResponseHeaderTemplate(0xc1n, 0xa1n);

test('events are those of the generic codec, byte for byte', () => {
  const record = encodeKeyValue(kv).slice();
  beginPutEvent(record);
  assert.deepEqual(finishEvent(undefined), encode('mvccpb.Event', { kv: message }));
  beginPutEvent(record);
  assert.deepEqual(finishEvent(record), encode('mvccpb.Event', { kv: message, prev_kv: message }));
  beginDeleteEvent(key, 301);
  const deletion = { type: 1, kv: { key, mod_revision: 301 } };
  assert.deepEqual(finishEvent(undefined), encode('mvccpb.Event', deletion));
  beginDeleteEvent(key, 301);
  assert.deepEqual(finishEvent(record), encode('mvccpb.Event', { ...deletion, prev_kv: message }));
});

test('responses are those of the generic codec, byte for byte', () => {
  const ids = { cluster_id: 0xc1n, member_id: 0xa1n, raft_term: 7 };
  const notices: WatchNotice[] = [
    {},
    { watchId: 0n },
    { watchId: -1n, created: true, canceled: true, cancelReason: WatchCancelReason.EmptyRange },
    { watchId: 5n, canceled: true, compactRevision: 12 },
    { watchId: 2n ** 62n, fragment: true },
  ];
  const deletion = { type: 1, kv: { key, mod_revision: 301 } };
  const event = encode('mvccpb.Event', deletion).slice();
  for (const notice of notices) {
    const expected = {
      watch_id: notice.watchId,
      created: notice.created,
      canceled: notice.canceled,
      compact_revision: notice.compactRevision,
      cancel_reason: notice.cancelReason,
      fragment: notice.fragment,
    };
    for (const revision of [0, 300]) {
      const found = encodeWatchResponse(header, revision, 7, notice, [event, event, event], 1, 3);
      const events = [deletion, deletion];
      const whole = { ...expected, header: { ...ids, revision }, events };
      assert.deepEqual(found, encode('etcdserverpb.WatchResponse', whole));
    }
  }
});

test('sizes are what is written', () => {
  const ids = [0n, -1n, -(1n << 63n)];
  for (let bits = 0n; bits < 63n; bits += 1n) ids.push(1n << bits, (2n << bits) - 1n);
  for (const watchId of ids) {
    assert.equal(watchIdSize(watchId), encode('etcdserverpb.WatchCancelRequest', { watch_id: watchId }).length);
  }
  const bare = encodeWatchResponse(header, 1, 7, {}).length;
  for (const bytes of [0, 127, 128, 20_000]) {
    const event = new Uint8Array(bytes);
    assert.equal(encodeWatchResponse(header, 1, 7, {}, [event]).length - bare, eventSize(event));
  }
});
