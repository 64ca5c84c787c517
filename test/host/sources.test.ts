/** Numbers of connections: each its own while there are any, none of them held when it is given back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sources } from '../../src/host/sources.js';
import { methodOf, openAux, SOURCES_HASHED, SOURCES_MAX, sourceOf } from '../../src/transport/envelope.js';
import { Method } from '../../src/wire/methods.js';

function sources(): { table: Sources; said: string[] } {
  const said: string[] = [];
  return { said, table: new Sources((source, isHeld) => said.push(`${isHeld ? 'hold' : 'go on'} ${source}`)) };
}

test('every connection has a source that no other has, until there are no more', () => {
  const { table } = sources();
  const taken = new Set<number>();
  for (let source = table.take(); source !== undefined; source = table.take()) taken.add(source);
  assert.equal(taken.size, SOURCES_MAX - SOURCES_HASHED);
  assert.deepEqual([Math.min(...taken), Math.max(...taken)], [SOURCES_HASHED, SOURCES_MAX - 1]);
  table.give(500);
  table.give(300);
  assert.deepEqual([table.take(), table.take(), table.take()], [500, 300, undefined]);
});

test('a source that was given back is the last one to be taken', () => {
  const { table } = sources();
  const first = table.take() as number;
  table.give(first);
  assert.notEqual(table.take(), first);
});

test('a hold is said once, and ends with its connection', () => {
  const { table, said } = sources();
  const [one, other] = [table.take() as number, table.take() as number];
  table.crowded(one, false);
  table.crowded(one, true);
  table.crowded(one, true);
  table.crowded(other, true);
  table.crowded(other, false);
  table.give(other);
  table.give(one);
  assert.deepEqual(said, [`hold ${one}`, `hold ${other}`, `go on ${other}`, `go on ${one}`]);
});

test('an Open tells every method from every source', () => {
  for (const method of Object.values(Method)) {
    for (const source of [0, 1, SOURCES_HASHED, SOURCES_MAX - 1]) {
      const aux = openAux(method, source);
      assert.ok(aux <= 0xffff);
      assert.deepEqual([methodOf(aux), sourceOf(aux)], [method, source]);
    }
  }
});
