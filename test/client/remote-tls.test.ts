import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { connect, type TlsOptions } from '../../src/index.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { freePorts, missingPeer, requireEtcd } from '../support/etcd.js';
import { ownDirectory, startServer } from '../support/server-process.js';

const run = promisify(execFile);

/** A certificate for one name, signed by itself, and its key. */
async function certify(directory: string, name: string): Promise<{ cert: string; key: string }> {
  const [cert, key] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)];
  const extensions = ['-addext', `subjectAltName=DNS:${name}`, '-addext', 'basicConstraints=critical,CA:TRUE'];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await run('openssl', [
    'req',
    '-x509',
    '-subj',
    `/CN=${name}`,
    ...newKey,
    ...extensions,
    '-out',
    cert,
    '-keyout',
    key,
  ]);
  return { cert, key };
}

test('TLS: the server is who it should be, and the client has a certificate', async context => {
  const binaries = await requireEtcd(context, '3.4');
  if (binaries === undefined) return;
  const openssl = await run('openssl', ['version']).catch(() => undefined);
  if (openssl === undefined) return missingPeer(context, 'openssl');
  const directory = await ownDirectory('kvorum-tls-');
  const [clientPort, peerPort] = await freePorts(2);
  const server = await certify(directory.path, 'etcd.test');
  const user = await certify(directory.path, 'user.test');
  const url = `https://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const flags = [
    ...['--name', 'm1', '--data-dir', join(directory.path, 'data'), '--logger', 'zap'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url, '--initial-cluster', `m1=${peerUrl}`],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ...['--cert-file', server.cert, '--key-file', server.key, '--client-cert-auth', '--trusted-ca-file', user.cert],
  ];
  const isReady = (line: string) => line.includes('serving client traffic securely') || undefined;
  const etcd = await startServer('etcd 3.4', binaries.server, flags, isReady);
  try {
    const [ca, cert, key] = await Promise.all([server.cert, user.cert, user.key].map(path => readFile(path, 'utf8')));
    const full = { ca: ca!, cert: Buffer.from(cert!), key: key!, serverName: 'etcd.test' };
    const attempt = async (tls: TlsOptions | undefined) => {
      using client = connect({ endpoints: url, ...(tls === undefined ? {} : { tls }), connectTimeoutMs: 500 });
      return (await client.put('a', 'b')).revision;
    };
    assert.equal(await attempt(full), 2);
    const refused = (message: RegExp) => ({ code: GrpcCode.Unavailable, message });
    await assert.rejects(attempt({ ...full, serverName: 'other.test' }), refused(/other\.test/));
    await assert.rejects(attempt({ ca: ca!, serverName: 'etcd.test' }), refused(/./));
    await assert.rejects(attempt({ cert: cert!, key: key!, serverName: 'etcd.test' }), refused(/self-signed/));
    await assert.rejects(attempt(undefined), refused(/self-signed/));
  } finally {
    await etcd.server.end();
    await directory.remove();
  }
});
