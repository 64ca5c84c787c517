import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PendingTable } from '../../src/host/pending.js';

test('a waiter leaves exactly once', () => {
  const table = new PendingTable<string>();
  const id = table.add('a');
  assert.equal(table.get(id), 'a');
  assert.equal(table.take(id), 'a');
  assert.equal(table.take(id), undefined);
  assert.equal(table.size, 0);
});

test('a late answer does not find the slot’s next owner', () => {
  const table = new PendingTable<string>();
  const first = table.add('a');
  table.take(first);
  const second = table.add('b');
  assert.notEqual(first, second);
  assert.equal(table.take(first), undefined);
  assert.equal(table.take(second), 'b');
});

test('generations wrap and ids stay uint32', () => {
  const table = new PendingTable<number>();
  for (let round = 0; round < 10_000; round++) {
    const id = table.add(round);
    assert.ok(Number.isInteger(id) && id >= 0 && id < 2 ** 32);
    assert.equal(table.take(id), round);
  }
});

test('drain hands out everyone and empties the table', () => {
  const table = new PendingTable<number>();
  const ids = [1, 2, 3].map(value => table.add(value));
  table.take(ids[1] as number);
  const drained: number[] = [];
  table.drain(waiter => drained.push(waiter));
  assert.deepEqual(drained, [1, 3]);
  assert.equal(table.size, 0);
});
