import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Method, methodByNumber, methodByPath, methods, unknownMethodText } from '../../src/wire/methods.js';

test('every method number has exactly one row, and path and number find it', () => {
  // One is between host and member only: no path leads to it.
  const served = Object.values(Method).filter(method => method !== Method.AuthPassword);
  assert.equal(methods.length, served.length);
  assert.deepEqual(
    methods.map(info => info.method),
    served,
  );
  for (const info of methods) {
    assert.ok(info.method > 0 && info.method < 65_536);
    assert.equal(methodByPath(info.path), info);
    assert.equal(methodByNumber(info.method), info);
    assert.equal(info.path, `/${info.service}/${info.name}`);
  }
  assert.equal(methodByNumber(0), undefined);
});

test('rows carry kind and message names', () => {
  assert.deepEqual(methodByPath('/etcdserverpb.KV/Compact'), {
    method: Method.KvCompact,
    path: '/etcdserverpb.KV/Compact',
    service: 'etcdserverpb.KV',
    name: 'Compact',
    kind: 'U',
    request: 'etcdserverpb.CompactionRequest',
    response: 'etcdserverpb.CompactionResponse',
  });
  assert.equal(methodByPath('/etcdserverpb.Auth/UserAdd')?.request, 'etcdserverpb.AuthUserAddRequest');
  assert.equal(methodByPath('/etcdserverpb.Lease/LeaseKeepAlive')?.kind, 'BD');
  assert.equal(methodByPath('/v3electionpb.Election/Observe')?.response, 'v3electionpb.LeaderResponse');
  assert.equal(methodByPath('/grpc.health.v1.Health/Watch')?.kind, 'SS');
});

test('unknown methods and services are told apart as gRPC-Go does', () => {
  assert.equal(methodByPath('/etcdserverpb.KV/Nope'), undefined);
  assert.equal(unknownMethodText('/etcdserverpb.KV/Nope'), 'unknown method Nope for service etcdserverpb.KV');
  assert.equal(unknownMethodText('/foo.Bar/Baz'), 'unknown service foo.Bar');
  assert.equal(unknownMethodText('/nonsense'), 'malformed method name: "/nonsense"');
});
