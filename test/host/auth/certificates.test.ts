/**
 * Client certificates as users: with --client-cert-auth, never through the gateway, and a token counts before them.
 */
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { test } from 'node:test';
import { type Cluster, connect, startCluster } from '../../../src/index.js';
import { Method } from '../../../src/wire/methods.js';
import { encode } from '../../../src/wire/schema.js';
import { type CertificateName, certificates } from '../../support/certificates.js';

const { ca, of } = await certificates();
const denied = { code: 7, message: 'etcdserver: permission denied' };

async function start(clientCertAuth: boolean): Promise<Cluster> {
  const { certFile, keyFile } = of.server;
  const tls = { certFile, keyFile, trustedCaFile: ca.certFile, ...(clientCertAuth ? { clientCertAuth } : {}) };
  const cluster = await startCluster({ members: 1, logLevel: 'silent', bcryptCost: 4, tls });
  const { user, role } = cluster.client();
  await user.add('root', 'secret');
  await user.grantRole('root', 'root');
  await user.add('alice', undefined);
  await role.add('a');
  await role.grantPermission('a', { prefix: 'a/' }, 'readwrite');
  await user.grantRole('alice', 'a');
  return cluster;
}

function clientOf(cluster: Cluster, name: CertificateName, credentials = {}) {
  const { cert, key } = of[name];
  return connect({ endpoints: cluster.endpoints, tls: { ca: ca.cert, cert, key }, ...credentials });
}

/** A request of alice's to the gateway. */
function gateway(cluster: Cluster): Promise<{ status: number | undefined; body: string }> {
  const { cert, key } = of.client;
  const url = `${cluster.endpoints[0]}/v3/kv/range`;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', ca: ca.cert, cert, key, agent: false }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', text => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
    });
    sent.on('error', reject);
    sent.end(JSON.stringify({ key: Buffer.from('a/b').toString('base64') }));
  });
}

test('the certificate’s name is the user', async () => {
  const cluster = await start(true);
  using alice = clientOf(cluster, 'client');
  using bob = clientOf(cluster, 'other');
  using root = clientOf(cluster, 'client', { username: 'root', password: 'secret' });
  try {
    assert.equal((await gateway(cluster)).status, 200, 'auth is off');
    await root.auth.enable();
    await alice.put('a/b', '1');
    await assert.rejects(alice.get('b'), denied);
    await assert.rejects(bob.get('a/b'), denied, 'nobody has made bob a user');
    await root.put('b', '2');
    const lock = encode('v3lockpb.LockRequest', { name: Buffer.from('a/lock') });
    await alice.channel.unary(Method.Lock, lock);
    await assert.rejects(bob.channel.unary(Method.Lock, lock), { code: 2, message: denied.message });
    assert.deepEqual(await gateway(cluster), {
      status: 400,
      body: 'CommonName of client sending a request against gateway will be ignored and not used as expected\n',
    });
    await root.auth.disable();
    assert.equal((await gateway(cluster)).status, 200);
  } finally {
    await cluster.close();
  }
});

test('a certificate that is only asked for opens the door and names nobody', async () => {
  const cluster = await start(false);
  using alice = clientOf(cluster, 'client');
  using root = clientOf(cluster, 'client', { username: 'root', password: 'secret' });
  try {
    await root.auth.enable();
    await assert.rejects(alice.put('a/b', '1'), { code: 3, message: 'etcdserver: user name is empty' });
    await root.put('a/b', '1');
  } finally {
    await cluster.close();
  }
});
