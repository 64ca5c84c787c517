import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EtcdErrorCode, etcdError, etcdErrorName, GrpcCode, isEtcdErrorCode } from '../../src/wire/errors.js';

test('every code is unique, fits u16, and finds its row', () => {
  const codes = Object.values(EtcdErrorCode);
  assert.equal(new Set(codes).size, codes.length);
  for (const [name, code] of Object.entries(EtcdErrorCode)) {
    assert.ok(code > 0 && code < 65_536);
    assert.equal(etcdErrorName(code), name);
    assert.ok(etcdError(code).message.length > 0);
    assert.ok(etcdError(code).grpcCode > 0);
  }
  assert.equal(isEtcdErrorCode(0), false);
  assert.equal(isEtcdErrorCode(60_000), false);
  assert.equal(isEtcdErrorCode(EtcdErrorCode.EmptyKey), true);
});

test('texts and codes are etcd 3.6 byte for byte', () => {
  assert.deepEqual(etcdError(EtcdErrorCode.EmptyKey), { grpcCode: 3, message: 'etcdserver: key is not provided' });
  assert.deepEqual(etcdError(EtcdErrorCode.PeerUrlExist), {
    grpcCode: 9,
    message: 'etcdserver: Peer URLs already exists',
  });
  assert.deepEqual(etcdError(EtcdErrorCode.Corrupt), { grpcCode: 15, message: 'etcdserver: corrupt cluster' });
  assert.deepEqual(etcdError(EtcdErrorCode.ContextDeadlineExceeded), {
    grpcCode: 4,
    message: 'context deadline exceeded',
  });
});

test('the two rows etcd forgets to map leave as Unknown', () => {
  assert.equal(etcdError(EtcdErrorCode.MemberNotEnoughStarted).grpcCode, GrpcCode.Unknown);
  assert.equal(etcdError(EtcdErrorCode.RequestTooManyRequests).grpcCode, GrpcCode.Unknown);
});

test('a detail completes the text and leaves the table alone', () => {
  assert.equal(etcdError(EtcdErrorCode.Undecodable, 'x').message, 'grpc: error unmarshalling request: x');
  assert.equal(etcdError(EtcdErrorCode.Undecodable).message, 'grpc: error unmarshalling request: ');
});
