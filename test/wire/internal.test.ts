import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, hexToBytes, utf8Encode } from '../../src/base/bytes.js';
import { Prng } from '../../src/base/prng.js';
import {
  decodeInternalRequest,
  encodeInternalRequest,
  InternalField,
  newInternalRequest,
} from '../../src/wire/internal.js';
import { ProtoError } from '../../src/wire/proto.js';
import { decode, encode, messageTable } from '../../src/wire/schema.js';
import { damaged, randomBytes } from './random-message.js';

test('etcd’s vectors: a put before the header, a cluster version after it', () => {
  const put = encode('etcdserverpb.PutRequest', { key: utf8Encode('a'), value: utf8Encode('1') });
  assert.equal(
    bytesToHex(encodeInternalRequest(InternalField.Put, put, 0x89ad, 0xa1ff56da7a02)),
    '22060a0161120131a2060b0882f4e9b6f5bfe8d68901',
  );
  const version = encode('membershippb.ClusterVersionSetRequest', { ver: '3.6.0' });
  assert.equal(
    bytesToHex(encodeInternalRequest(InternalField.ClusterVersionSet, version, 0x659e, 0xa1ff5cb27102)),
    'a2060a0882e2c9e5f5bfa8cf65a251070a05332e362e30',
  );
});

test('what is wrapped is found again, by both codecs', () => {
  const prng = new Prng(11);
  const found = newInternalRequest();
  const fields = Object.values(InternalField);
  for (let round = 0; round < 500; round++) {
    const field = fields[prng.nextBelow(fields.length)]!;
    const body = randomBytes(prng, 300);
    const idMember = prng.nextBelow(65_536);
    const idCounter = prng.nextBelow(65_536) * 2 ** 32 + prng.nextUint32();
    const identity = prng.nextBelow(2) === 0 ? undefined : { username: 'Jürgen', authRevision: prng.nextBelow(1000) };
    const data = encodeInternalRequest(field, body, idMember, idCounter, identity);
    decodeInternalRequest(data, found);
    assert.equal(found.field, field);
    assert.deepEqual(data.slice(found.bodyStart, found.bodyEnd), body);
    assert.deepEqual([found.idMember, found.idCounter], [idMember, idCounter]);
    assert.deepEqual([found.username, found.authRevision], [identity?.username ?? '', identity?.authRevision ?? 0]);
  }
  const grant = encode('etcdserverpb.LeaseGrantRequest', { TTL: 60, ID: 5 });
  const generic = decode(
    'etcdserverpb.InternalRaftRequest',
    encodeInternalRequest(InternalField.LeaseGrant, grant, 0xffff, 2 ** 48 - 1, { username: 'root', authRevision: 3 }),
  );
  assert.equal(generic.lease_grant?.TTL, 60n);
  assert.deepEqual(generic.header, { ID: 2n ** 64n - 1n, username: 'root', auth_revision: 3n });
});

test('an empty request still has its field', () => {
  const data = encodeInternalRequest(InternalField.AuthEnable, new Uint8Array(0), 0, 1);
  assert.equal(bytesToHex(data), 'a206020801c23e00');
  const found = newInternalRequest();
  decodeInternalRequest(data, found);
  assert.equal(found.field, InternalField.AuthEnable);
  assert.equal(found.bodyEnd - found.bodyStart, 0);
});

test('field numbers are those of the schema', () => {
  const numbers = new Set(messageTable('etcdserverpb.InternalRaftRequest').fields.map(field => field.number));
  for (const field of Object.values(InternalField)) assert.ok(numbers.delete(field), `${field}`);
  assert.deepEqual([...numbers], [1, 100]);
});

test('old logs: the id in field 1; unknown fields are skipped; a target is wiped before it is filled', () => {
  const found = newInternalRequest();
  decodeInternalRequest(hexToBytes('22060a0161120131 a20608 0805 12026175 1803'), found);
  assert.deepEqual([found.idCounter, found.username, found.authRevision], [5, 'au', 3]);
  decodeInternalRequest(hexToBytes('0807 7d00000000'), found);
  assert.deepEqual(found, { ...newInternalRequest(), idCounter: 7 });
});

test('damaged entries throw ProtoError or are read, nothing else', () => {
  const prng = new Prng(13);
  const found = newInternalRequest();
  const data = encodeInternalRequest(InternalField.Put, utf8Encode('body'), 1, 2, { username: 'u', authRevision: 1 });
  for (let round = 0; round < 5000; round++) {
    try {
      decodeInternalRequest(damaged(prng, data), found);
      assert.ok(found.bodyStart <= found.bodyEnd);
    } catch (error) {
      assert.ok(error instanceof ProtoError, String(error));
    }
  }
});
