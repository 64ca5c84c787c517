import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCredentials } from '../../src/cli/credentials.js';

const ask = async (): Promise<string> => 'typed';

test('--user and --password are read as etcdctl reads them', async () => {
  const ann = { username: 'ann', password: 'a:b' };
  assert.equal(await readCredentials({}, {}, ask), undefined);
  assert.deepEqual(await readCredentials({ user: 'ann:a:b' }, {}, ask), ann);
  assert.deepEqual(await readCredentials({ user: 'ann', password: 'a:b' }, {}, ask), ann);
  assert.deepEqual(await readCredentials({ user: 'a:b', password: 'c' }, {}, ask), { username: 'a:b', password: 'c' });
  assert.deepEqual(await readCredentials({ user: 'ann:' }, {}, ask), { username: 'ann', password: '' });
  assert.deepEqual(await readCredentials({}, { ETCDCTL_USER: 'ann:a:b' }, ask), ann);
  const variables = { ETCDCTL_USER: 'ann', ETCDCTL_PASSWORD: 'a:b' };
  assert.deepEqual(await readCredentials({}, variables, ask), ann);
  assert.deepEqual(await readCredentials({ user: 'bo' }, variables, ask), { username: 'bo', password: 'a:b' });
});

test('a password is asked for where there is somebody to ask', async () => {
  assert.deepEqual(await readCredentials({ user: 'ann' }, {}, ask), { username: 'ann', password: 'typed' });
  await assert.rejects(readCredentials({ user: 'ann' }, {}, undefined), /no password for ann: add --password/);
  await assert.rejects(readCredentials({ password: 'x' }, {}, ask), /--password needs a --user/);
});
