import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairReads, turnBytesMax } from '../../src/member/fair-reads.js';
import type { Read } from '../../src/member/reads.js';

const mib = 1024 * 1024;
const read = (requestId: number, source: number): Read => ({
  requestId,
  source,
  method: 1,
  payload: new Uint8Array(0),
});

/** One turn: the ids of the reads that are made in it, each bringing `bytesOf` its id. */
function turn(reads: FairReads, bytesOf: (requestId: number) => number, backlogBytes = 0): number[] {
  const made: number[] = [];
  reads.begin(backlogBytes);
  reads.serve(({ requestId }) => {
    made.push(requestId);
    return bytesOf(requestId);
  });
  return made;
}

test('reads are made at once until the turn has brought its share', () => {
  const reads = new FairReads();
  reads.begin(0);
  assert.ok(reads.mayServe);
  reads.spend(turnBytesMax / 2);
  assert.ok(reads.mayServe);
  reads.spend(turnBytesMax / 2);
  assert.ok(!reads.mayServe);
  reads.begin(0);
  assert.ok(reads.mayServe);
});

test('nothing overtakes what waits', () => {
  const reads = new FairReads();
  reads.begin(0);
  reads.add(read(1, 1));
  assert.ok(!reads.mayServe);
  assert.deepEqual(
    turn(reads, () => 100),
    [1],
  );
  assert.ok(reads.mayServe);
});

test('a source that asks for much does not hold up the others, and is served itself', () => {
  const reads = new FairReads();
  for (let id = 1; id <= 4; id += 1) reads.add(read(id, 7));
  for (let id = 11; id <= 13; id += 1) reads.add(read(id, 8));
  const bytesOf = (id: number): number => (id < 10 ? mib : 200);
  const turns = [];
  while (reads.size > 0) turns.push(turn(reads, bytesOf));
  assert.deepEqual(turns, [[1], [11, 12, 13, 2], [3], [4]]);
});

test('two sources that ask for the same share what there is', () => {
  const reads = new FairReads();
  for (let id = 0; id < 10; id += 1) {
    reads.add(read(100 + id, 1));
    reads.add(read(200 + id, 2));
  }
  const sourceOf = (id: number): number => Math.floor(id / 100);
  const made = turn(reads, () => 64 * 1024).map(sourceOf);
  assert.deepEqual(made, [1, 2, 1, 2, 1, 2, 1, 2]);
});

test('answers that wait for room count: nothing is read into a full ring', () => {
  const reads = new FairReads();
  reads.add(read(1, 1));
  assert.deepEqual(
    turn(reads, () => 100, turnBytesMax),
    [],
  );
  assert.deepEqual(
    turn(reads, () => 100, turnBytesMax - 1),
    [1],
  );
});

test('what was given up is not made', () => {
  const reads = new FairReads();
  for (const id of [1, 2, 3]) reads.add(read(id, 1));
  reads.add(read(4, 2));
  reads.cancel(2);
  reads.cancel(4);
  reads.cancel(5);
  assert.equal(reads.size, 2);
  assert.deepEqual(
    turn(reads, () => 100),
    [1, 3],
  );
  assert.deepEqual(
    turn(reads, () => 100),
    [],
  );
});

test('a member that stops hands out all that wait, once', () => {
  const reads = new FairReads();
  for (const id of [1, 2, 3]) reads.add(read(id, id));
  const ids: number[] = [];
  reads.takeAll(({ requestId }) => ids.push(requestId));
  assert.deepEqual(ids, [1, 2, 3]);
  assert.equal(reads.size, 0);
  assert.deepEqual(
    turn(reads, () => 100),
    [],
  );
});
