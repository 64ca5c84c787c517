import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { bytesToHex } from '../../src/base/bytes.js';
import { sha1 } from '../../src/base/sha1.js';
import { addedMemberId, bootstrapIds, clusterIdOf, foundingMemberId, idFromHex, idToHex } from '../../src/wire/ids.js';

test('SHA-1 agrees with node:crypto at every length around the block edges', () => {
  for (let length = 0; length < 200; length++) {
    const message = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff);
    assert.equal(bytesToHex(sha1(message)), createHash('sha1').update(message).digest('hex'));
  }
});

test('ids are etcd’s', () => {
  assert.equal(idToHex(foundingMemberId(['http://localhost:2380'], 'etcd-cluster')), '8e9e05c52164694d');
  assert.equal(idToHex(clusterIdOf([0x8e9e05c52164694dn])), 'cdf818194e3a8c32');
  const ids = bootstrapIds([['http://h1:2380'], ['http://h2:2380'], ['http://h3:2380']], 'tkn');
  assert.deepEqual(ids.memberIds.map(idToHex), ['cba989ddb574d14c', '2594e4c5637b898d', '3193c1ef88edd35f']);
  assert.equal(idToHex(ids.clusterId), 'ad9f1a6e337e0749');
  assert.equal(idToHex(foundingMemberId(['http://b:2380', 'http://a:2380'], 'tkn')), '9627641b585a835f');
  assert.equal(idToHex(addedMemberId(['http://h4:2380'], 1_700_000_000)), 'a42ea0f21d729bee');
  const single = bootstrapIds([['http://127.0.0.1:45380']], 'etcd-cluster');
  assert.deepEqual([...single.memberIds, single.clusterId].map(idToHex), ['ef12a2ed4f459e98', '2201b72faabfdd79']);
});

test('members with the same peer URLs cannot found a cluster', () => {
  assert.throws(() => bootstrapIds([['http://a:1'], ['http://a:1']], 't'), /same peer URLs/);
});

test('hex form of ids', () => {
  assert.equal(idToHex(0xad5792b1c17b2bcn), 'ad5792b1c17b2bc');
  assert.equal(idFromHex('ad5792b1c17b2bc'), 0xad5792b1c17b2bcn);
  for (const wrong of ['', 'xyz', '0x12', '11112222333344445', '-1']) assert.equal(idFromHex(wrong), undefined);
});
