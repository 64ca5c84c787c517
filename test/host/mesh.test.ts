import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mesh } from '../../src/host/mesh.js';

test('every two members share the two links of their pair, seen from both ends', () => {
  const mesh = new Mesh();
  const positions = [11n, 22n, 33n].map(id => mesh.join(id));
  assert.deepEqual(positions, [0, 1, 2]);
  const [fromFirst, fromLast] = [mesh.between(0, 2), mesh.between(2, 0)];
  assert.equal(fromFirst.toPeer, fromLast.fromPeer);
  assert.equal(fromFirst.fromPeer, fromLast.toPeer);
  assert.notEqual(fromFirst.toPeer, fromFirst.fromPeer);
  assert.deepEqual([fromFirst.id, fromFirst.position, fromLast.id], [33n, 2, 11n]);
  assert.equal(fromFirst.doorbell, mesh.doorbell(2));
});

test('who leaves is nobody’s peer, and its position is never given again', () => {
  const mesh = new Mesh();
  for (const id of [11n, 22n, 33n]) mesh.join(id);
  mesh.leave(1);
  assert.equal(mesh.join(44n), 3);
  const peers = mesh.peersOf(0);
  assert.deepEqual(
    peers.map(({ id, position }) => [id, position]),
    [
      [33n, 2],
      [44n, 3],
    ],
  );
  assert.throws(() => mesh.between(0, 1), /left/);
});
