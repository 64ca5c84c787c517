/**
 * npm's etcd3 with users, roles and passwords, and with client certificates that name a user: what its manual says, on
 * real etcd and on kvorum. Each call's result, or the kind of error the client makes of a refusal, has to be the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Etcd3, Range } from 'etcd3';
import { type Credentials, certificates } from '../support/certificates.js';
import type { Family } from '../support/differential.js';
import { startDisturbedCluster } from '../support/disturbed-cluster.js';
import { requireEtcd } from '../support/etcd.js';
import { startSubjects } from '../support/subject.js';

const families: readonly Family[] = ['etcd-3.5', 'kvorum'];

test('npm etcd3 with credentials', { timeout: 60_000 }, async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  const [reference, ...others] = await Promise.all(families.map(transcript));
  for (const one of others) assert.deepEqual(one, reference);
  assert.ok(reference!.includes('a token that became void: the client logs in again and reads "of ann"'));
});

test('npm etcd3 with client certificates that name users', { timeout: 60_000 }, async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  const { ca, of } = await certificates();
  const tls = [
    ...['--cert-file', of.server.certFile, '--key-file', of.server.keyFile],
    ...['--client-cert-auth', '--trusted-ca-file', ca.certFile],
  ];
  const subjects = await startSubjects(families, { members: 1, flags: ['--bcrypt-cost=4'], tls });
  t.after(() => Promise.all(subjects.map(({ stop }) => stop())));
  const [reference, ...others] = await Promise.all(
    subjects.map(async ({ endpoints }) => {
      const script = new Script(
        endpoints.map(endpoint => `https://${endpoint}`),
        ca,
      );
      await playCertificates(script, of.client, of.other);
      return script.close();
    }),
  );
  for (const one of others) assert.deepEqual(one, reference);
  assert.ok(reference!.includes('alice, by her certificate "of alice"'), reference!.join('\n'));
});

async function transcript(family: Family): Promise<string[]> {
  const cluster = await startDisturbedCluster(family, { bcryptCost: 4 });
  const script = new Script(cluster.endpoints);
  try {
    await play(script);
  } finally {
    script.close();
    await cluster.stop();
  }
  return script.close();
}

class Script {
  readonly #hosts: readonly string[];
  readonly #ca: Credentials | undefined;
  readonly #lines: string[] = [];
  readonly #clients: Etcd3[] = [];

  constructor(hosts: readonly string[], ca?: Credentials) {
    this.#hosts = hosts;
    this.#ca = ca;
  }

  as(username?: string, password = username, certificate?: Credentials): Etcd3 {
    const auth = username === undefined ? {} : { auth: { username, password: password ?? '' } };
    const credentials = this.#ca !== undefined && {
      rootCertificate: Buffer.from(this.#ca.cert),
      ...(certificate && { privateKey: Buffer.from(certificate.key), certChain: Buffer.from(certificate.cert) }),
    };
    const client = new Etcd3({ hosts: [...this.#hosts], ...auth, ...(credentials && { credentials }) });
    this.#clients.push(client);
    return client;
  }

  /** Ends the clients; gives what was noted. */
  close(): string[] {
    for (const client of this.#clients.splice(0)) client.close();
    return this.#lines;
  }

  /** Notes what a call gives. */
  async note(what: string, call: () => Promise<unknown>): Promise<void> {
    try {
      this.#lines.push(`${what} ${JSON.stringify(await call())}`);
    } catch (error) {
      assert.ok(error instanceof Error);
      this.#lines.push(`${what} ${error.constructor.name}: ${error.message}`);
    }
  }
}

async function play(script: Script): Promise<void> {
  const open = script.as();
  await open.put('ann/1').value('of ann');
  await open.put('ben/1').value('of ben');
  const role = open.role('one');
  await role.create();
  await script.note('a role again', () => role.create());
  await role.grant([
    { permission: 'Readwrite', range: Range.prefix('ann/') },
    { permission: 'Read', key: 'ben/1' },
  ]);
  await script.note('its permissions', () => role.permissions());
  await open.user('root').create('root');
  await open.user('root').addRole('root');
  await open.user('ann').create('ann');
  await script.note('a user again', () => open.user('ann').create('ann'));
  await open.user('ann').addRole(role);
  await script.note('roles of ann', async () => (await open.user('ann').roles()).map(({ name }) => name));
  await script.note('roles of nobody', () => open.user('nobody').roles());
  await script.note('a wrong role', () => open.user('ann').removeRole('other'));
  await script.note('a login before there is auth', () => script.as('ann').get('ann/1').string());
  await open.auth.authEnable();
  await script.note('nobody reads', () => open.get('ann/1').string());
  await script.note('a wrong password', () => script.as('ann', 'wrong').get('ann/1').string());
  await script.note('an unknown user', () => script.as('zoe').get('ann/1').string());
  const [root, ann] = [script.as('root'), script.as('ann')];
  await use(script, ann);
  await script.note('ann makes a user', () => ann.user('eve').create('eve'));
  await script.note('ann deletes a role', () => ann.role('one').delete());
  await script.note('root lists users', async () => (await root.getUsers()).map(({ name }) => name));
  await script.note('root lists roles', async () => (await root.getRoles()).map(({ name }) => name));
  // A role taken away counts at once; a changed password makes the token void.
  await root.user('ann').removeRole('one');
  await script.note('without the role', () => ann.get('ann/1').string());
  await root.user('ann').addRole('one');
  await script.note('with the role again', () => ann.get('ann/1').string());
  await root.user('ann').setPassword('other');
  await script.note('after a new password, with the old', () => ann.get('ann/1').string());
  await root.user('ann').setPassword('ann');
  await script.note('a token that became void: the client logs in again and reads', () => ann.get('ann/1').string());
  await root.user('ann').delete();
  await script.note('a deleted user', () => ann.get('ann/1').string());
  await root.auth.authDisable();
  await script.note('nobody reads what is open again', () => script.as().get('ben/1').string());
}

async function use(script: Script, ann: Etcd3): Promise<void> {
  await script.note('ann reads her own', () => ann.get('ann/1').string());
  await script.note('ann reads what she may', () => ann.get('ben/1').string());
  await script.note('ann writes what she may not', async () => void (await ann.put('ben/1').value('mine')));
  await script.note('ann reads all of hers', () => ann.getAll().prefix('ann/').strings());
  await script.note('ann reads everything', () => ann.getAll().strings());
  await script.note('ann deletes her own', async () => (await ann.delete().key('ann/2')).deleted);
  await script.note('a transaction she may do', async () => {
    const { succeeded } = await ann.if('ann/1', 'Version', '>', 0).then(ann.put('ann/3').value('3')).commit();
    return succeeded;
  });
  await script.note('a transaction she may not', async () => {
    const { succeeded } = await ann.if('ann/1', 'Version', '>', 0).then(ann.put('z').value('')).commit();
    return succeeded;
  });
  // The client counts the seconds of a lease it has revoked when an answer comes late: they are to be few.
  const lease = ann.lease(60, { autoKeepAlive: false });
  await script.note('a key with a lease', async () => (await lease.put('ann/leased').value('x')) !== undefined);
  await lease.revoke();
  await script.note('the key is gone', () => ann.get('ann/leased').string());
  await script.note('a lock of hers', () =>
    ann
      .lock('ann/lock')
      .ttl(1)
      .do(() => 'held'),
  );
  await script.note('a lock elsewhere', () =>
    ann
      .lock('lock')
      .ttl(1)
      .do(() => 'held'),
  );
  await script.note('a watch', async () => {
    const watcher = await ann.watch().prefix('ann/').create();
    const event = new Promise(resolve => watcher.on('put', ({ key, value }) => resolve(`${key}=${value}`)));
    await ann.put('ann/watched').value('w');
    const seen = await event;
    await watcher.cancel();
    return seen;
  });
}

/** A call without a token is made by the user whom the certificate names, with whatever rights that user has. */
async function playCertificates(script: Script, ofAlice: Credentials, ofBob: Credentials): Promise<void> {
  const [alice, bob] = [script.as(undefined, '', ofAlice), script.as(undefined, '', ofBob)];
  await alice.put('alice').value('of alice');
  await alice.put('bob').value('of bob');
  for (const name of ['alice', 'bob']) {
    await alice.role(name).create();
    await alice.role(name).grant({ permission: 'Readwrite', key: name });
  }
  await alice.user('root').create('root');
  await alice.user('root').addRole('root');
  await alice.user('alice').create('alice');
  await alice.user('alice').addRole('alice');
  await alice.auth.authEnable();
  await script.note('alice, by her certificate', () => alice.get('alice').string());
  await script.note('alice reads what is of bob', () => alice.get('bob').string());
  await script.note('alice makes a user', () => alice.user('eve').create('eve'));
  await script.note('bob is no user yet', () => bob.get('bob').string());
  // Who logs in is who logged in, whatever the certificate says.
  const root = script.as('root', 'root', ofBob);
  await root.user('bob').create('bob');
  await root.user('bob').addRole('bob');
  await script.note('bob reads his own', () => bob.get('bob').string());
  await script.note('bob logs in as alice', () => script.as('alice', 'alice', ofBob).get('alice').string());
  await root.user('alice').removeRole('alice');
  await script.note('alice without her role', () => alice.get('alice').string());
  await root.user('alice').delete();
  await script.note('alice is no user any more', () => alice.put('alice').value('x').exec());
  await script.note('without a certificate', async () => {
    try {
      return await script.as().get('alice').string();
    } catch {
      return 'refused';
    }
  });
}
