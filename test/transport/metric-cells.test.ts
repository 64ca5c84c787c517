/**
 * The numbers that a member and its host share: where they stand, and that both see the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Histogram,
  MetricCells,
  PeerHistogram,
  PeerScalar,
  peersMax,
  Scalar,
} from '../../src/transport/metric-cells.js';
import { InternalField } from '../../src/wire/internal.js';

test('what one side counts the other reads; nothing else moves', () => {
  const member = new MetricCells();
  const host = new MetricCells(member.buffer);
  member.add(Scalar.puts);
  member.add(Scalar.puts, 2);
  member.set(Scalar.raftTerm, 7);
  assert.deepEqual([host.get(Scalar.puts), host.get(Scalar.raftTerm), host.get(Scalar.deletes)], [3, 7, 0]);
  const sum = (cells: MetricCells) => new Float64Array(cells.buffer).reduce((total, cell) => total + cell, 0);
  assert.equal(sum(host), 10);
});

test('a value is counted in the bucket whose bound it does not exceed', () => {
  const cells = new MetricCells();
  const { bounds } = Histogram.walFsync;
  for (const seconds of [0, 0.001, 0.0010001, 8.192, 8.2]) cells.observe(Histogram.walFsync, seconds);
  const { counts, sum } = cells.read(Histogram.walFsync);
  assert.equal(counts.length, bounds.length + 1);
  assert.deepEqual(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
  assert.ok(Math.abs(sum - 16.3940001) < 1e-9);
  assert.ok(cells.read(Histogram.walFsyncFine).counts.every(count => count === 0));
});

test('applies are told apart by request and outcome; a request that has no name is not counted', () => {
  const cells = new MetricCells();
  cells.applied(InternalField.Put, true, 0.0002);
  cells.applied(InternalField.Put, false, 0.0001);
  cells.applied(InternalField.Put, false, 0.0001);
  cells.applied(424_242, true, 1);
  const found = cells.readApplies().map(({ op, success, value }) => [op, success, value.counts[0], value.counts[1]]);
  assert.deepEqual(found, [
    ['Put', 'false', 2, 0],
    ['Put', 'true', 0, 1],
  ]);
});

test('peers have blocks of their own; a block that was freed is empty when another takes it', () => {
  const cells = new MetricCells();
  const greatest = 2n ** 64n - 1n;
  const first = cells.takePeer(greatest) as number;
  const second = cells.takePeer(1n) as number;
  assert.notEqual(first, second);
  assert.equal(cells.takePeer(greatest), first);
  cells.add(first + PeerScalar.sentBytes, 5);
  cells.observe(PeerHistogram.roundTrip, 0.001, first);
  assert.deepEqual(
    cells.peers().map(({ id }) => id),
    [greatest, 1n],
  );
  assert.equal(cells.get(second + PeerScalar.sentBytes), 0);
  cells.freePeer(first);
  assert.deepEqual(
    cells.peers().map(({ id }) => id),
    [1n],
  );
  // Somebody who still holds the block writes once more.
  cells.add(first + PeerScalar.sentBytes, 5);
  assert.equal(cells.takePeer(2n), first);
  assert.equal(cells.get(first + PeerScalar.sentBytes), 0);
  assert.equal(cells.read(PeerHistogram.roundTrip, first).sum, 0);
});

test('more peers than there is room for are not counted, and harm nobody', () => {
  const cells = new MetricCells();
  for (let id = 1n; id <= BigInt(peersMax); id += 1n) assert.notEqual(cells.takePeer(id), undefined);
  assert.equal(cells.takePeer(99n), undefined);
  assert.equal(cells.peers().length, peersMax);
});
