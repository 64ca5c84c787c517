/**
 * The host's part of logins and of new passwords, before a member that answers by script.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareSync, hashSync } from 'bcryptjs';
import type { HostAuth } from '../../../src/host/auth/host-auth.js';
import { isPasswordMethod, passwordCall } from '../../../src/host/auth/password-calls.js';
import { Gate } from '../../../src/host/auth/passwords.js';
import type { AskedPort } from '../../../src/host/member-call.js';
import type { Waiter } from '../../../src/host/member-port.js';
import {
  encodePasswordFacts,
  type PasswordFacts,
  splitRevision,
  withRevision,
} from '../../../src/transport/authentication.js';
import { EtcdErrorCode } from '../../../src/wire/errors.js';
import { Method } from '../../../src/wire/methods.js';
import { decode, encode } from '../../../src/wire/schema.js';

/** What was logged: fields and message. */
const logged: unknown[][] = [];
const log = { warn: (...record: unknown[]) => void logged.push(record) };
const simple: HostAuth = { tokens: undefined, bcryptCost: 4, commonNames: false, log };
const hash = hashSync('secret', 4);
const client = new Uint8Array([3, 0, 1, 65, 66]);

interface Asked {
  readonly method: Method;
  readonly request: Uint8Array;
  readonly caller: Uint8Array | undefined;
  readonly ofServer: boolean;
}

/** A member that gives one answer after the other and remembers what it was asked. */
class ScriptedPort implements AskedPort {
  readonly asked: Asked[] = [];
  readonly #answers: (Uint8Array | EtcdErrorCode)[];

  constructor(...answers: (Uint8Array | EtcdErrorCode)[]) {
    this.#answers = answers;
  }

  open(
    method: Method,
    request: Uint8Array,
    _requireLeader: boolean,
    waiter: Waiter,
    caller?: Uint8Array,
    ofServer = false,
  ): number {
    this.asked.push({ method, request: request.slice(), caller, ofServer });
    const answer = this.#answers.shift();
    assert.ok(answer !== undefined, `nothing was to be asked any more, not method ${method}`);
    queueMicrotask(() => (typeof answer === 'number' ? waiter.end(answer, '') : waiter.reply(answer)));
    return 0;
  }

  cancel(): void {}
}

function facts(change: Partial<PasswordFacts> = {}): Uint8Array {
  return encodePasswordFacts({ enabled: true, hash, noPassword: false, revision: 5, ...change });
}

function login(port: AskedPort, password: string, auth = simple, name = 'ann'): Promise<Uint8Array> {
  const request = encode('etcdserverpb.AuthenticateRequest', { name, password });
  return passwordCall(auth, port, Method.Authenticate, request, {}, { caller: client });
}

test('a login: the password is compared here, the member hears only that it was right', async () => {
  const response = encode('etcdserverpb.AuthenticateResponse', { header: { revision: 9n }, token: 'given.17' });
  const port = new ScriptedPort(facts(), withRevision(5, response));
  const answer = decode('etcdserverpb.AuthenticateResponse', await login(port, 'secret'));
  assert.deepEqual([answer.token, answer.header?.revision], ['given.17', 9n]);
  const [asked, told] = port.asked as [Asked, Asked];
  assert.deepEqual([asked.method, Buffer.from(asked.request).toString()], [Method.AuthPassword, 'ann']);
  assert.equal(told.method, Method.Authenticate);
  const { revision, message } = splitRevision(told.request);
  const entry = decode('etcdserverpb.InternalAuthenticateRequest', message);
  assert.deepEqual([revision, entry.name, entry.password], [5, 'ann', '']);
  assert.match(entry.simple_token, /^[a-zA-Z]{16}$/);
  for (const { caller, ofServer } of port.asked) assert.deepEqual([caller, ofServer], [undefined, true]);
});

test('users that change meanwhile: the password is compared again, with what it is now', async () => {
  const response = encode('etcdserverpb.AuthenticateResponse', { token: 'given.18' });
  const port = new ScriptedPort(
    facts({ revision: 5 }),
    EtcdErrorCode.AuthOldRevision,
    facts({ revision: 6 }),
    withRevision(6, response),
  );
  assert.equal(decode('etcdserverpb.AuthenticateResponse', await login(port, 'secret')).token, 'given.18');
  const logins = port.asked.filter(({ method }) => method === Method.Authenticate);
  assert.deepEqual(
    logins.map(({ request }) => splitRevision(request).revision),
    [5, 6],
  );
  const prefixes = logins.map(
    ({ request }) => decode('etcdserverpb.InternalAuthenticateRequest', splitRevision(request).message).simple_token,
  );
  assert.notEqual(prefixes[0], prefixes[1]);
  const changed = new ScriptedPort(facts(), EtcdErrorCode.AuthOldRevision, facts({ hash: hashSync('other', 4) }));
  await assert.rejects(login(changed, 'secret'), /authentication failed, invalid user ID or password/);
});

test('a signed token carries the revision that the login was applied at', async () => {
  const signed: [string, number][] = [];
  const tokens = {
    canSign: true,
    sign: async (name: string, revision: number) => {
      signed.push([name, revision]);
      return 'a.b.c';
    },
  } as unknown as HostAuth['tokens'];
  const response = encode('etcdserverpb.AuthenticateResponse', { token: '' });
  const port = new ScriptedPort(facts(), withRevision(6, response));
  const answer = await login(port, 'secret', { ...simple, tokens });
  assert.equal(decode('etcdserverpb.AuthenticateResponse', answer).token, 'a.b.c');
  assert.deepEqual(signed, [['ann', 6]]);
  const { message } = splitRevision((port.asked[1] as Asked).request);
  assert.equal(decode('etcdserverpb.InternalAuthenticateRequest', message).simple_token, '');
  const reader = { canSign: false } as unknown as HostAuth['tokens'];
  const refused = login(new ScriptedPort(facts()), 'secret', { ...simple, tokens: reader });
  await assert.rejects(refused, { code: 2, message: 'auth: token signing attempted with verify-only key' });
});

test('logins that fail are in the log as in etcd’s, without the password; others are not', async () => {
  logged.length = 0;
  await assert.rejects(login(new ScriptedPort(facts()), 'Hidden'));
  await assert.rejects(login(new ScriptedPort(facts({ hash: '' })), 'Hidden', simple, 'nobody'.repeat(1_000)));
  await assert.rejects(login(new ScriptedPort(facts({ hash: '', noPassword: true })), 'Hidden'));
  await assert.rejects(login(new ScriptedPort(facts({ enabled: false })), 'Hidden'));
  const response = encode('etcdserverpb.AuthenticateResponse', { token: 'given.17' });
  await login(new ScriptedPort(facts(), withRevision(5, response)), 'secret');
  const message = 'invalid authentication was requested';
  const failed = 'auth: authentication failed, invalid user ID or password';
  assert.deepEqual(logged, [
    [{ user: 'ann', error: failed }, message],
    [{ user: 'nobody'.repeat(50).slice(0, 256), error: failed }, message],
    [{ user: 'ann', error: 'auth: authentication failed, password was given for no password user' }, message],
  ]);
});

test('logins that fail have etcd’s codes and texts', async () => {
  const wrong = { code: 3, message: 'etcdserver: authentication failed, invalid user ID or password' };
  await assert.rejects(login(new ScriptedPort(facts()), 'Secret'), wrong);
  await assert.rejects(login(new ScriptedPort(facts()), ''), wrong);
  await assert.rejects(login(new ScriptedPort(facts({ hash: '' })), 'secret'), wrong, 'no such user');
  await assert.rejects(login(new ScriptedPort(facts({ hash: 'no bcrypt text' })), 'secret'), wrong);
  await assert.rejects(login(new ScriptedPort(facts({ enabled: false })), 'secret'), {
    code: 9,
    message: 'etcdserver: authentication is not enabled',
  });
  await assert.rejects(login(new ScriptedPort(facts({ hash: '', noPassword: true })), 'secret'), {
    code: 2,
    message: 'auth: authentication failed, password was given for no password user',
  });
  await assert.rejects(login(new ScriptedPort(EtcdErrorCode.Timeout), 'secret'), {
    code: 14,
    message: 'etcdserver: request timed out',
  });
  const undecodable = passwordCall(simple, new ScriptedPort(), Method.Authenticate, new Uint8Array([0x0a, 9]), {}, {});
  await assert.rejects(undecodable, /^EtcdError: grpc: error unmarshalling request: /);
});

test('a new user’s password leaves as its hash, in etcd’s form; a hash the client made is overwritten', async () => {
  assert.ok(isPasswordMethod(Method.UserAdd) && isPasswordMethod(Method.UserChangePassword));
  assert.ok(!isPasswordMethod(Method.UserGet));
  const port = new ScriptedPort(new Uint8Array([7]));
  const given = { name: 'ann', password: 'secret', hashedPassword: 'x', options: { no_password: false } };
  const request = encode('etcdserverpb.AuthUserAddRequest', given);
  const answer = await passwordCall(simple, port, Method.UserAdd, request, {}, { caller: client });
  assert.deepEqual([...answer], [7]);
  const [asked] = port.asked as [Asked];
  assert.deepEqual([asked.method, asked.caller, asked.ofServer], [Method.UserAdd, client, false]);
  const sent = decode('etcdserverpb.AuthUserAddRequest', asked.request);
  assert.deepEqual([sent.name, sent.password, sent.options?.no_password], ['ann', '', false]);
  const text = Buffer.from(sent.hashedPassword, 'base64').toString();
  assert.match(text, /^\$2a\$04\$[./A-Za-z0-9]{53}$/);
  assert.ok(compareSync('secret', text) && !compareSync('Secret', text));
});

test('users without a password, changed passwords, and passwords that are too long', async () => {
  const bare = new ScriptedPort(new Uint8Array(0));
  const add = { name: 'bo', password: 'ignored', hashedPassword: 'x', options: { no_password: true } };
  await passwordCall(simple, bare, Method.UserAdd, encode('etcdserverpb.AuthUserAddRequest', add), {}, {});
  const sent = decode('etcdserverpb.AuthUserAddRequest', (bare.asked[0] as Asked).request);
  assert.deepEqual([sent.password, sent.hashedPassword, sent.options?.no_password], ['', '', true]);

  const port = new ScriptedPort(new Uint8Array(0), new Uint8Array(0));
  for (const change of [
    { name: 'bo', password: 'ß'.repeat(36) },
    { name: 'bo', hashedPassword: 'own' },
  ]) {
    const request = encode('etcdserverpb.AuthUserChangePasswordRequest', change);
    await passwordCall(simple, port, Method.UserChangePassword, request, {}, { caller: client });
  }
  const [changed, own] = port.asked.map(({ request }) => decode('etcdserverpb.AuthUserChangePasswordRequest', request));
  assert.equal(changed?.password, '');
  assert.ok(compareSync('ß'.repeat(36), Buffer.from(changed?.hashedPassword ?? '', 'base64').toString()));
  assert.deepEqual([own?.password, own?.hashedPassword], ['', 'own'], 'as etcd lets it pass');

  const long = encode('etcdserverpb.AuthUserAddRequest', { name: 'bo', password: 'ß'.repeat(37) });
  await assert.rejects(passwordCall(simple, new ScriptedPort(), Method.UserAdd, long, {}, {}), {
    code: 2,
    message: 'bcrypt: password length exceeds 72 bytes',
  });
});

test('the gate: so many at once, so many waiting, the others are refused; who gives up makes room', async () => {
  const gate = new Gate(2, 2);
  const ends: (() => void)[] = [];
  const begun: number[] = [];
  const job = (number: number, signal?: AbortSignal): Promise<number> =>
    gate.run(() => {
      begun.push(number);
      return new Promise(resolve => ends.push(() => resolve(number)));
    }, signal);
  const round = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  const giveUp = new AbortController();
  const first = job(1);
  const second = job(2);
  const third = job(3, giveUp.signal);
  const fourth = job(4);
  await assert.rejects(job(5), { code: 2, message: 'etcdserver: too many requests' });
  await round();
  assert.deepEqual(begun, [1, 2]);
  giveUp.abort(new Error('gone'));
  await assert.rejects(third, /gone/);
  const sixth = job(6);
  await assert.rejects(job(7, AbortSignal.abort(new Error('gone before'))), /gone before/);
  for (const wanted of [
    [1, 2, 4],
    [1, 2, 4, 6],
  ]) {
    ends.shift()?.();
    await round();
    assert.deepEqual(begun, wanted);
  }
  for (const end of ends) end();
  assert.deepEqual(await Promise.all([first, second, fourth, sixth]), [1, 2, 4, 6]);
  const failing = gate.run(() => Promise.reject(new Error('no')), undefined);
  await assert.rejects(failing, /no/);
  assert.equal(await gate.run(() => Promise.resolve(8), undefined), 8, 'a failure leaves its place');
});
