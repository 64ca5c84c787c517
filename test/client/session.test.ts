/**
 * One login for all that need one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EtcdError } from '../../src/client/channel.js';
import { tableError } from '../../src/client/errors.js';
import { noToken, Session } from '../../src/client/session.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';

/** A session whose logins are answered by hand. */
function staged() {
  const logins: { resolve(token: string): void; reject(error: Error): void }[] = [];
  const session = new Session(() => new Promise((resolve, reject) => logins.push({ resolve, reject })));
  return { session, logins };
}

const invalid = tableError(EtcdErrorCode.InvalidAuthToken);

test('calls that come while a login is under way wait for it, and share its token', async () => {
  const { session, logins } = staged();
  const waiting = [session.token(), session.token(), session.token()];
  assert.equal(logins.length, 1);
  logins[0]?.resolve('a.1');
  assert.deepEqual(await Promise.all(waiting), ['a.1', 'a.1', 'a.1']);
  assert.equal(session.token(), 'a.1');
  // Ten calls are refused at once: the first forgets the token, the others find another one or the login for it.
  for (let i = 0; i < 10; i++) assert.ok(session.isRefusal(invalid, 'a.1'));
  const again = [session.token(), session.token()];
  assert.equal(logins.length, 2);
  logins[1]?.resolve('b.2');
  assert.deepEqual(await Promise.all(again), ['b.2', 'b.2']);
  assert.ok(session.isRefusal(invalid, 'a.1'), 'a late refusal of the old token');
  assert.equal(session.token(), 'b.2', 'does not cost the new one');
});

test('a login that fails fails for those who waited; the next call tries again', async () => {
  const { session, logins } = staged();
  const waiting = [session.token(), session.token()];
  logins[0]?.reject(tableError(EtcdErrorCode.AuthFailed));
  for (const token of waiting) await assert.rejects(Promise.resolve(token), /authentication failed/);
  const next = session.token();
  logins[1]?.resolve('a.1');
  assert.equal(await next, 'a.1');
});

test('where auth is off calls go without a token, until the server asks who they are', async () => {
  const { session, logins } = staged();
  const first = session.token();
  logins[0]?.reject(tableError(EtcdErrorCode.AuthNotEnabled));
  assert.equal(await first, noToken);
  assert.equal(session.token(), noToken);
  assert.ok(session.isRefusal(tableError(EtcdErrorCode.UserEmpty), noToken));
  const second = session.token();
  logins[1]?.resolve('a.1');
  assert.equal(await second, 'a.1');
});

test('only what is said of the token is a refusal of the login', () => {
  const { session } = staged();
  assert.ok(session.isRefusal(tableError(EtcdErrorCode.AuthOldRevision), ''));
  assert.ok(!session.isRefusal(tableError(EtcdErrorCode.PermissionDenied), 'a.1'));
  assert.ok(session.isRefusal(tableError(EtcdErrorCode.PermissionDenied), noToken), 'of a certificate, then');
  assert.ok(!session.isRefusal(new EtcdError(16, 'something else'), ''));
});
