/**
 * A member's state on its way to the host: credit, turns, ends.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { HostLink } from '../../src/member/host-link.js';
import type { OpenMember } from '../../src/member/open.js';
import { SnapshotStreams } from '../../src/member/snapshot-streams.js';
import { StateStore } from '../../src/member/store/state-store.js';
import { visitTuple } from '../../src/member/transfer/content.js';
import { FRAME_BYTES_MAX } from '../../src/member/transfer/exporter.js';
import { TupleStream } from '../../src/member/transfer/tuples.js';
import { MetricCells } from '../../src/transport/metric-cells.js';
import { messageOverheadBytes } from '../../src/transport/stream-credit.js';
import { decodeStateHead } from '../../src/transport/tasks.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';
import { STAMP, temporaryDirectory } from './log/support.js';

const records = 3_000;
const frameBytes = FRAME_BYTES_MAX + messageOverheadBytes;

async function stage(t: Parameters<typeof temporaryDirectory>[0]) {
  const directory = join(await temporaryDirectory(t), 'state');
  const store = StateStore.open({ directory, stamp: STAMP, mapSizeBytes: 1 << 30, durable: false });
  t.after(() => store.close());
  for (let main = 2; main < records + 2; main += 1) store.putRecord(main, 0, false, new Uint8Array(1_000).fill(main));
  store.put('cluster', new Uint8Array([1]), new Uint8Array([2]));
  store.setApplied(records, 3);
  const sent = new Map<number, Uint8Array[]>();
  const ends: [number, EtcdErrorCode | undefined][] = [];
  const host = {
    message: (id: number, bytes: Uint8Array) => void sent.set(id, [...(sent.get(id) ?? []), bytes]),
    log: () => {},
  } as unknown as HostLink;
  const open = {
    cells: new MetricCells(),
    state: { store, members: { clusterVersion: '3.6.0' } },
    log: {
      metadataAt: (index: number) => ({ index, term: 3, confState: { voters: [2n ** 63n, 7n], learners: [9n] } }),
    },
  } as unknown as OpenMember;
  const streams = new SnapshotStreams(host, open, (id, error) => void ends.push([id, error]));
  const framesOf = (id: number) => (sent.get(id) ?? []).slice(1);
  return { store, streams, sent, ends, framesOf };
}

/** The revisions in a stream's frames. */
function revisionsIn(frames: readonly Uint8Array[]): number[] {
  const found: number[] = [];
  const tuples = new TupleStream((key, value) =>
    visitTuple(key, value, { entry: () => {}, record: main => void found.push(main) }),
  );
  for (const frame of frames) tuples.write(frame);
  tuples.finish();
  return found;
}

test('no more is sent than there is credit for, and the state is that of the beginning', async t => {
  const { store, streams, sent, ends, framesOf } = await stage(t);
  streams.open(4);
  assert.deepEqual(decodeStateHead(sent.get(4)?.[0] as Uint8Array), {
    appliedIndex: records,
    appliedTerm: 3,
    voters: [2n ** 63n, 7n],
    learners: [9n],
    storageVersion: '3.6.0',
  });
  assert.equal(streams.pump(), false, 'the credit of the beginning is one frame');
  assert.equal(framesOf(4).length, 1);
  assert.equal(streams.pump(), false);
  assert.equal(framesOf(4).length, 1, 'nothing without credit');
  store.putRecord(records + 2, 0, false, new Uint8Array(9));
  store.setApplied(records + 1, 3);
  store.commit();
  streams.credit(4, 3 * frameBytes);
  assert.equal(streams.pump(), true, 'a turn sends few, and says that there is more');
  assert.equal(framesOf(4).length, 3);
  for (let turn = 0; ends.length === 0; turn += 1) {
    assert.ok(turn < 100, 'it ends');
    streams.credit(4, frameBytes);
    streams.pump();
  }
  assert.deepEqual(ends, [[4, undefined]]);
  assert.deepEqual(
    revisionsIn(framesOf(4)),
    Array.from({ length: records }, (_, at) => at + 2),
  );
});

test('two streams take turns; one that is closed sends nothing any more', async t => {
  const { streams, framesOf, ends } = await stage(t);
  for (const id of [1, 2]) {
    streams.open(id);
    streams.credit(id, 100 * frameBytes);
  }
  streams.pump();
  streams.pump();
  assert.deepEqual([framesOf(1).length, framesOf(2).length], [2, 2]);
  streams.close(1);
  while (streams.pump());
  assert.equal(framesOf(1).length, 2);
  assert.deepEqual(ends, [[2, undefined]]);
  streams.credit(1, frameBytes);
  assert.equal(streams.pump(), false);
});

test('where the store goes away every stream ends with an error', async t => {
  const { streams, ends } = await stage(t);
  streams.open(1);
  streams.open(2);
  streams.abandon();
  assert.deepEqual(ends, [
    [1, EtcdErrorCode.Stopped],
    [2, EtcdErrorCode.Stopped],
  ]);
  streams.credit(1, frameBytes);
  assert.equal(streams.pump(), false);
});
