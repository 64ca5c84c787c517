/**
 * An alarm opens nothing that auth has closed. etcd's releases before 3.6 take the check of rights away with it (their
 * pull request 22386): who can fill the store can turn auth off. So what is expected stands here, not at a real etcd.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CallName } from '../support/calls.js';
import type { Message } from '../support/messages.js';
import { Ensemble } from './ensemble.js';

const denied = '7 etcdserver: permission denied';
const noSpace = '8 etcdserver: mvcc: database space exceeded';
const corrupt = '15 etcdserver: corrupt cluster';
const secret = Buffer.from('secret');
const lease = 0x7201n;

/** What somebody without rights asks, and hears with no alarm, without space, and with a corrupt member. */
const questions: readonly (readonly [CallName, Message, string, string, string])[] = [
  ['AuthDisable', {}, denied, denied, denied],
  ['UserAdd', { name: 'eve', password: 'eve' }, denied, denied, denied],
  ['UserGrantRole', { user: 'ann', role: 'root' }, denied, denied, denied],
  ['RoleGrantPermission', { name: 'one', perm: { permType: 2, key: secret } }, denied, denied, denied],
  ['Range', { key: secret }, denied, denied, denied],
  ['DeleteRange', { key: secret }, denied, denied, corrupt],
  ['Put', { key: secret }, denied, noSpace, corrupt],
  ['Txn', { success: [{ request_delete_range: { key: secret } }] }, denied, denied, corrupt],
  ['LeaseRevoke', { ID: lease }, denied, denied, corrupt],
  ['Compact', { revision: 2n }, denied, denied, denied],
];

test('an alarm opens nothing that auth has closed', async () => {
  await using ensemble = await Ensemble.start(['kvorum']);
  const ask = async (bearer: string, call: CallName, request: Message) => {
    const [outcome] = await ensemble.ask(bearer, call, request);
    return `${outcome!.status} ${outcome!.text}`.trimEnd();
  };
  const preparation: readonly (readonly [CallName, Message])[] = [
    ...['root', 'ann'].map(name => ['UserAdd', { name, password: name }] as const),
    ['UserGrantRole', { user: 'root', role: 'root' }],
    ['RoleAdd', { name: 'one' }],
    ['UserGrantRole', { user: 'ann', role: 'one' }],
    ['LeaseGrant', { ID: lease, TTL: 9000n }],
    ['Put', { key: secret, lease }],
    ['AuthEnable', {}],
  ];
  for (const [call, request] of preparation) assert.equal(await ask('', call, request), '0', call);
  for (const name of ['root', 'ann']) await ensemble.login(name);
  for (const alarm of [0, 1, 2]) {
    if (alarm > 0) assert.equal(await ask('root', 'Alarm', { action: 1, alarm }), '0');
    for (const [call, request, ...expected] of questions) {
      assert.equal(await ask('ann', call, request), expected[alarm], `${call}, alarm ${alarm}`);
    }
  }
  for (const alarm of [1, 2]) assert.equal(await ask('root', 'Alarm', { action: 2, alarm }), '0');
  assert.equal(await ask('root', 'Range', { key: secret }), '0');
});
