/**
 * Whose call it is: which of the things that say so counts, and that it is worked out once.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Callers, callersMax } from '../../../src/host/auth/callers.js';
import { JwtTokens } from '../../../src/host/auth/jwt.js';
import type { Call } from '../../../src/host/grpc/call.js';
import { type Caller, decodeCaller } from '../../../src/transport/caller.js';

const directory = mkdtempSync(join(tmpdir(), 'kvorum-callers-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const secret = join(directory, 'secret');
writeFileSync(secret, 'secret');
const tokens = new JwtTokens({ method: 'HS256', publicKeyPath: undefined, privateKeyPath: secret, ttlMs: 60_000 });

/** A call with these fields in its head; counts how often it is looked at. */
function callOf(fields: readonly (readonly [string, string])[], commonName?: string) {
  const looks = { count: 0 };
  const metadata: Call['metadata'] = {
    get: name => {
      looks.count += 1;
      return fields.find(([key]) => key === name)?.[1];
    },
    getAll: () => [],
    getBytes: () => undefined,
    names: () => [],
    memo: undefined,
  };
  const call = { metadata, peer: { address: '::1', port: 1, commonName } } as unknown as Call;
  return { call, looks };
}

async function callerOf(callers: Callers, ...args: Parameters<typeof callOf>): Promise<Caller | undefined> {
  const encoded = await callers.of(callOf(...args).call);
  return encoded === undefined ? undefined : decodeCaller(encoded);
}

test('the first of: token, authorization, the certificate; Bearer is no part of a token', async () => {
  const callers = new Callers({ tokens: undefined, commonNames: true });
  const token = (text: string): Caller => ({ kind: 'token', text, revision: 0 });
  const name = (text: string): Caller => ({ kind: 'commonName', text, revision: 0 });
  assert.deepEqual(await callerOf(callers, []), undefined);
  assert.deepEqual(await callerOf(callers, [['token', 'a.1']]), token('a.1'));
  assert.deepEqual(await callerOf(callers, [['token', 'Bearer a.1']]), token('a.1'));
  assert.deepEqual(await callerOf(callers, [['token', 'bearer a.1']]), token('bearer a.1'));
  assert.deepEqual(await callerOf(callers, [['authorization', 'b.2']]), token('b.2'));
  assert.deepEqual(await callerOf(callers, [['authorization', 'Bearer b.2']]), token('b.2'));
  const both: [string, string][] = [
    ['authorization', 'b.2'],
    ['token', 'a.1'],
  ];
  assert.deepEqual(await callerOf(callers, both, 'cn'), token('a.1'));
  assert.deepEqual(await callerOf(callers, [['token', '']], 'cn'), token(''), 'an empty token is a wrong one');
  assert.deepEqual(await callerOf(callers, [], 'cn'), name('cn'));
  assert.deepEqual(await callerOf(callers, [['grpcgateway-accept', '*/*']], 'cn'), undefined);
  const asksOnly = new Callers({ tokens: undefined, commonNames: false });
  assert.deepEqual(await callerOf(asksOnly, [], 'cn'), undefined, 'without --client-cert-auth');
  assert.deepEqual(await callerOf(callers, [['token', 'cn']]), token('cn'), 'a token is not taken for a certificate');
});

test('a head is read once, a token is encoded once', () => {
  const callers = new Callers({ tokens: undefined, commonNames: true });
  const { call, looks } = callOf([['token', 'a.1']]);
  const first = callers.of(call);
  const once = looks.count;
  assert.equal(callers.of(call), first);
  assert.equal(callers.of(call), first);
  assert.equal(looks.count, once, 'nothing is looked for in a head that was seen');
  assert.equal(callers.of(callOf([['authorization', 'a.1']]).call), first, 'the same token in another head');
  const nobody = callOf([]);
  assert.equal(callers.of(nobody.call), undefined);
  const looked = nobody.looks.count;
  callers.of(nobody.call);
  assert.equal(nobody.looks.count, looked);
});

test('what is remembered is bounded; the oldest goes first, what is used stays', () => {
  const callers = new Callers({ tokens: undefined, commonNames: true });
  const kept = callers.of(callOf([['token', 'kept']]).call);
  const first = callers.of(callOf([['token', 'first']]).call);
  for (let i = 0; i < callersMax - 1; i++) {
    callers.of(callOf([['token', `t${i}`]]).call);
    assert.equal(callers.of(callOf([['token', 'kept']]).call), kept);
  }
  assert.notEqual(callers.of(callOf([['token', 'first']]).call), first);
});

test('a signed token is verified once and counts as its claims until its time is over', async t => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const verify = t.mock.method(tokens, 'verify');
  const callers = new Callers({ tokens, commonNames: true });
  const token = await tokens.sign('alice', 7);
  const claims: Caller = { kind: 'claims', text: 'alice', revision: 7 };
  const { call } = callOf([['token', token]]);
  const encoded = await callers.of(call);
  assert.deepEqual(decodeCaller(encoded as Uint8Array), claims);
  assert.equal(callers.of(call), encoded, 'at once, from now on');
  assert.equal(callers.of(callOf([['authorization', `Bearer ${token}`]]).call), encoded);
  assert.equal(verify.mock.callCount(), 1);
  t.mock.timers.tick(61_000);
  assert.deepEqual(decodeCaller((await callers.of(call)) as Uint8Array), { kind: 'token', text: token, revision: 0 });
  assert.equal(verify.mock.callCount(), 2);
});

test('a token that is not valid goes on as it is, and is not remembered', async t => {
  const verify = t.mock.method(tokens, 'verify');
  const callers = new Callers({ tokens, commonNames: true });
  const { call } = callOf([['token', 'abc.7']]);
  for (let i = 1; i <= 2; i++) {
    const caller = decodeCaller((await callers.of(call)) as Uint8Array);
    assert.deepEqual(caller, { kind: 'token', text: 'abc.7', revision: 0 });
    assert.equal(verify.mock.callCount(), i);
  }
});
