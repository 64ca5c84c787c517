/** Callers on the rings: what the host says is what the member reads, and the request after it is untouched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeAuthenticated,
  decodePasswordFacts,
  encodeAuthenticate,
  encodePasswordFacts,
  splitRevision,
  withRevision,
} from '../../src/transport/authentication.js';
import {
  callerBytes,
  decodeCaller,
  encodeClaimsCaller,
  encodeCommonNameCaller,
  encodeTokenCaller,
} from '../../src/transport/caller.js';
import { decode, encode } from '../../src/wire/schema.js';

test('a caller and the request behind it come apart again', () => {
  const request = Buffer.from('the request');
  const longest = 't'.repeat(70_000);
  for (const [head, caller] of [
    [encodeTokenCaller('abcdefghijklmnop.17'), { kind: 'token', text: 'abcdefghijklmnop.17', revision: 0 }],
    [encodeTokenCaller(''), { kind: 'token', text: '', revision: 0 }],
    [encodeTokenCaller(longest), { kind: 'token', text: longest.slice(0, 65_534), revision: 0 }],
    [encodeClaimsCaller('björn', 2 ** 52 + 1), { kind: 'claims', text: 'björn', revision: 2 ** 52 + 1 }],
    [encodeCommonNameCaller('client-7'), { kind: 'commonName', text: 'client-7', revision: 0 }],
  ] as const) {
    const shared = new Uint8Array(new SharedArrayBuffer(head.length + request.length + 3)).subarray(3);
    shared.set(head);
    shared.set(request, head.length);
    assert.deepEqual(decodeCaller(shared), caller);
    assert.equal(Buffer.from(shared.subarray(callerBytes(shared))).toString(), 'the request');
  }
});

test('what a login is about survives the rings', () => {
  const facts = { enabled: true, hash: '$2a$10$abc', noPassword: false, revision: 12 };
  assert.deepEqual(decodePasswordFacts(encodePasswordFacts(facts)), facts);
  const { revision, message } = splitRevision(encodeAuthenticate(9, 'alice', 'sixteenlettersss'));
  assert.equal(revision, 9);
  const request = { name: 'alice', password: '', simple_token: 'sixteenlettersss' };
  assert.deepEqual(decode('etcdserverpb.InternalAuthenticateRequest', message), request);
  const answer = withRevision(10, encode('etcdserverpb.AuthenticateResponse', { token: 'sixteenlettersss.44' }));
  assert.equal(decodeAuthenticated(answer).revision, 10);
  assert.equal(decodeAuthenticated(answer).response.token, 'sixteenlettersss.44');
});
