import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairReads, heldBytesMax, heldShareBytes, turnBytesMax } from '../../src/member/fair-reads.js';
import type { Read } from '../../src/member/reads.js';

const mib = 1024 * 1024;
const read = (requestId: number, source: number, payload = new Uint8Array(0)): Read => ({
  requestId,
  source,
  method: 1,
  payload,
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
  assert.ok(reads.mayServe(1));
  reads.spend(turnBytesMax / 2);
  assert.ok(reads.mayServe(1));
  reads.spend(turnBytesMax / 2);
  assert.ok(!reads.mayServe(1));
  reads.begin(0);
  assert.ok(reads.mayServe(1));
});

test('nothing overtakes what waits', () => {
  const reads = new FairReads();
  reads.begin(0);
  reads.add(read(1, 1));
  assert.ok(!reads.mayServe(1));
  assert.deepEqual(
    turn(reads, () => 100),
    [1],
  );
  assert.ok(reads.mayServe(1));
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

const small = (): number => 100;

test('a source that is held waits for nothing but its go-on, and nobody waits for it', () => {
  const reads = new FairReads();
  for (const id of [1, 2]) reads.add(read(id, 7));
  reads.add(read(3, 8));
  reads.hold(7);
  reads.hold(7);
  reads.add(read(4, 7));
  assert.deepEqual([reads.size, reads.heldSize], [1, 3], 'what is held calls for no turn');
  assert.deepEqual(turn(reads, small), [3]);
  assert.deepEqual([reads.mayServe(7), reads.mayServe(8)], [false, true]);
  assert.deepEqual(turn(reads, small), []);
  reads.goOn(7);
  reads.goOn(7);
  assert.deepEqual([reads.size, reads.heldSize], [3, 0]);
  assert.deepEqual([reads.mayServe(7), reads.mayServe(8)], [false, false]);
  assert.deepEqual(turn(reads, small), [1, 2, 4]);
  assert.deepEqual([reads.mayServe(7), reads.mayServe(8)], [true, true]);
});

test('a hold of a source that has no reads, or never had one, is felt by its next', () => {
  const reads = new FairReads();
  reads.goOn(7);
  reads.hold(7);
  reads.begin(0);
  assert.deepEqual([reads.mayServe(7), reads.mayServe(8)], [false, true]);
  reads.add(read(1, 7));
  assert.deepEqual(turn(reads, small), []);
  reads.cancel(1);
  reads.goOn(7);
  assert.equal(reads.size, 0);
  assert.deepEqual(turn(reads, small), []);
  reads.add(read(2, 7));
  assert.deepEqual(turn(reads, small), [2]);
});

test('a source comes back from a hold with its debt and behind the others', () => {
  const reads = new FairReads();
  for (const id of [1, 2]) reads.add(read(id, 7));
  for (let id = 11; id <= 14; id += 1) reads.add(read(id, 8));
  const bytesOf = (id: number): number => (id < 10 ? mib : 120 * 1024);
  assert.deepEqual(turn(reads, bytesOf), [1]);
  reads.hold(7);
  reads.goOn(7);
  assert.deepEqual(turn(reads, bytesOf), [11, 12, 13, 14, 2]);
});

test('what is held is given up, and handed out by a member that stops, like all others', () => {
  const reads = new FairReads();
  for (const id of [1, 2, 3]) reads.add(read(id, 7));
  reads.add(read(4, 8));
  reads.hold(7);
  reads.cancel(2);
  assert.equal(reads.heldSize, 2);
  const ids: number[] = [];
  reads.takeAll(({ requestId }) => ids.push(requestId));
  assert.deepEqual(ids, [4, 1, 3]);
  assert.deepEqual([reads.size, reads.heldSize], [0, 0]);
  assert.ok(reads.mayServe(7), 'a member that stops holds nobody');
});

test('what waits held is bounded; a source with little of it, or not held, may always wait', () => {
  const reads = new FairReads();
  for (const source of [7, 8]) reads.hold(source);
  const large = new Uint8Array(mib);
  let added = 0;
  while (reads.add(read(added, 7, large))) added += 1;
  assert.equal(added, heldBytesMax / mib);
  let few = 0;
  while (reads.add(read(1_000 + few, 8))) few += 1;
  assert.equal(few, heldShareBytes / 512 + 1);
  assert.ok(reads.add(read(9_000, 9, large)));
  reads.cancel(0);
  assert.ok(reads.add(read(9_001, 7, large)), 'one that was given up makes room');
  assert.ok(!reads.add(read(9_002, 7, large)));
  reads.goOn(7);
  assert.ok(reads.add(read(9_003, 8, large)), 'as does a source that goes on');
});
