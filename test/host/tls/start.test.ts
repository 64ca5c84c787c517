/**
 * A cluster's start with TLS: what it is refused for, and the certificates it makes for itself.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { memberCommand } from '../../../src/cli/member.js';
import { snapshotCommand } from '../../../src/cli/snapshot.js';
import { resolveOptions } from '../../../src/host/options.js';
import { autoTls } from '../../../src/host/tls/auto.js';
import { openTls } from '../../../src/host/tls/open.js';
import { revokedSerials } from '../../../src/host/tls/revocation-list.js';
import type { ClusterTlsOptions } from '../../../src/host/tls/settings.js';
import { type ClusterOptions, connect, StartError, startCluster } from '../../../src/index.js';
import { issue } from '../../../src/tasks/certificates.js';
import { certificates } from '../../support/certificates.js';
import { ownDirectory } from '../../support/server-process.js';

const dayMs = 24 * 3_600_000;
const silent = pino({ level: 'silent' });

async function place(t: TestContext): Promise<string> {
  const directory = await ownDirectory('kvorum-tls-start-');
  t.after(() => directory.remove());
  return directory.path;
}

function optionsRefusal(options: ClusterOptions): string {
  try {
    resolveOptions(options);
  } catch (error) {
    assert.ok(error instanceof StartError);
    return error.message;
  }
  assert.fail('not refused');
}

test('which endpoints are encrypted', async () => {
  const { certFile, keyFile } = (await certificates()).of.server;
  const urls = ['https://127.0.0.1:1', 'http://127.0.0.1:2', 'https://[::1]:3'];
  const mixed = resolveOptions({ listenClientUrls: urls, tls: { certFile, keyFile } });
  assert.deepEqual(
    mixed.listen.map(({ secure }) => secure),
    [true, false, true],
  );
  assert.equal(mixed.secureAdded, true);
  assert.ok(resolveOptions({ tls: true }).listen.every(({ secure }) => secure));
  assert.ok(resolveOptions({ tls: false }).listen.every(({ secure }) => !secure));
  const plain = resolveOptions({ listenClientUrls: ['http://127.0.0.1:1'], tls: true });
  assert.equal(plain.tls, undefined);
  assert.equal(plain.secureAdded, false);
  const missing =
    'TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme';
  assert.equal(optionsRefusal({ listenClientUrls: urls }), missing);
  assert.equal(
    optionsRefusal({ listenClientUrls: urls, tls: { clientCertAuth: true, autoTls: false, trustedCaFile: 'x' } }),
    missing,
  );
  assert.match(optionsRefusal({ members: 3, advertiseClientUrls: ['http://a:1'] }), /names 1 URLs for 3 members/);
  assert.match(optionsRefusal({ members: 1, advertiseClientUrls: ['a:1'] }), /is not a client URL/);
});

test('what a start with TLS is refused for, in one line each', async t => {
  const { of, ca, crlFile } = await certificates();
  const directory = await place(t);
  const { certFile, keyFile } = of.server;
  const none = join(directory, 'none.pem');
  const nonsense = join(directory, 'nonsense.pem');
  writeFileSync(nonsense, 'nonsense');
  const pair = { certFile, keyFile };
  const refusals: readonly (readonly [ClusterTlsOptions, string])[] = [
    [{ certFile }, `KeyFile and CertFile must both be present[key: , cert: ${certFile}]`],
    [{ keyFile }, `KeyFile and CertFile must both be present[key: ${keyFile}, cert: ]`],
    [{ certFile: none, keyFile }, `--cert-file: open ${none}: no such file or directory`],
    [{ certFile, keyFile: none }, `--key-file: open ${none}: no such file or directory`],
    [{ certFile: directory, keyFile }, `--cert-file: open ${directory}: is a directory`],
    [{ certFile: nonsense, keyFile }, `--cert-file: ${nonsense} holds no certificate in PEM form`],
    [{ certFile, keyFile: nonsense }, `--key-file: ${nonsense} holds no private key in PEM form`],
    [
      { certFile, keyFile: of.client.keyFile },
      `tls: private key does not match public key: ${of.client.keyFile} is not the key of ${certFile}`,
    ],
    [{ ...pair, trustedCaFile: none }, `--trusted-ca-file: open ${none}: no such file or directory`],
    [{ ...pair, trustedCaFile: nonsense }, `--trusted-ca-file: ${nonsense} holds no certificate in PEM form`],
    [{ ...pair, clientCrlFile: none }, `--client-crl-file: open ${none}: no such file or directory`],
    [
      { ...pair, clientCrlFile: ca.certFile },
      `--client-crl-file: ${ca.certFile}: not a certificate revocation list, or not all of one`,
    ],
    [{ ...pair, cipherSuites: ['TLS_FOO'] }, 'unexpected TLS cipher suite "TLS_FOO"'],
    [{ ...pair, cipherSuites: ['constructor'] }, 'unexpected TLS cipher suite "constructor"'],
    [
      { ...pair, cipherSuites: ['TLS_RSA_WITH_RC4_128_SHA'] },
      '--cipher-suites: TLS_RSA_WITH_RC4_128_SHA is too weak and no longer available; use ECDHE with AES-GCM',
    ],
    [{ ...pair, tlsMinVersion: 'TLS1.1' }, 'unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)'],
    [
      { ...pair, tlsMinVersion: 'TLS1.3', tlsMaxVersion: 'TLS1.2' },
      'min version (TLS1.3) is greater than max version (TLS1.2)',
    ],
    [
      { ...pair, tlsMinVersion: 'TLS1.3', cipherSuites: ['TLS_AES_128_GCM_SHA256'] },
      'cipher suites cannot be configured when only TLS1.3 is enabled',
    ],
    [{ selfSignedCertValidity: 0 }, 'selfSignedCertValidity is invalid,it should be greater than 0'],
  ];
  for (const [options, message] of refusals) {
    await assert.rejects(openTls(options, [], directory, silent), { name: 'StartError', message }, message);
  }
  const { certFile: oldCert, keyFile: oldKey } = of.expiredServer;
  const expired = openTls({ certFile: oldCert, keyFile: oldKey }, [], directory, silent);
  await assert.rejects(expired, { name: 'StartError', message: /^--cert-file: .* has expired on .*; renew it$/ });
  await openTls({ ...pair, trustedCaFile: ca.certFile, clientCrlFile: crlFile }, [], directory, silent);
});

test('a cluster that is refused leaves no directory in use', async t => {
  const dataDir = join(await place(t), 'data');
  const tls = { certFile: join(dataDir, 'none'), keyFile: join(dataDir, 'none') };
  await assert.rejects(startCluster({ members: 1, dataDir, tls }), /no such file or directory/);
  await using cluster = await startCluster({ members: 1, dataDir, tls: true });
  assert.match(cluster.endpoints[0] ?? '', /^https:/);
});

test('revocation lists: DER and PEM, and nothing else', async () => {
  const { crlFile, of } = await certificates();
  const pem = readFileSync(crlFile);
  const serial = new X509Certificate(of.other.cert).serialNumber.toLowerCase();
  assert.deepEqual([...revokedSerials(pem)], [serial]);
  const der = Buffer.from(pem.toString().replace(/-----.*-----/g, ''), 'base64');
  assert.deepEqual([...revokedSerials(der)], [serial]);
  for (let length = 0; length < der.length; length++) {
    assert.throws(() => revokedSerials(der.subarray(0, length)), /revocation list/);
  }
  assert.throws(() => revokedSerials(Buffer.from(new X509Certificate(of.other.cert).raw)), /revocation list/);
});

test('certificates made here: kept, closed to others, used again, and made anew when they no longer do', async t => {
  const directory = await place(t);
  const folder = join(directory, 'tls');
  const first = await autoTls(directory, ['10.0.0.1', 'etcd.test'], 1);
  const { client, server } = first;
  const files = ['ca-key.pem', 'ca.pem', 'client-key.pem', 'client.pem', 'server-key.pem', 'server.pem'];
  assert.deepEqual(readdirSync(folder).sort(), files);
  for (const name of files) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  const served = new X509Certificate(readFileSync(server.certFile));
  for (const host of ['etcd.test', 'localhost']) assert.equal(served.checkHost(host), host);
  for (const address of ['10.0.0.1', '127.0.0.1', '::1']) assert.equal(served.checkIP(address), address);
  assert.equal(served.verify(new X509Certificate(client.ca).publicKey), true);
  const years = (Date.parse(served.validTo) - Date.parse(served.validFrom)) / (365 * dayMs);
  assert.ok(years > 0.99 && years < 1.01);

  assert.deepEqual(await autoTls(directory, ['10.0.0.1'], 1), first, 'used again');
  const wider = await autoTls(directory, ['10.0.0.2'], 2);
  assert.equal(wider.client.ca, client.ca, 'another address, the same authority');
  assert.equal(new X509Certificate(readFileSync(server.certFile)).checkIP('10.0.0.2'), '10.0.0.2');

  const authority = { cert: client.ca, key: readFileSync(join(folder, 'ca-key.pem'), 'utf8') };
  const late = { commonName: 'kvorum-client', usages: ['clientAuth'], untilMs: Date.now() + dayMs } as const;
  const ending = await issue(authority, late);
  writeFileSync(client.files.cert, ending.cert);
  writeFileSync(client.files.key, ending.key);
  const renewed = await autoTls(directory, ['10.0.0.2'], 1);
  assert.equal(renewed.client.ca, client.ca);
  assert.notEqual(renewed.client.cert, ending.cert, 'it would end soon');

  copyFileSync(client.files.key, join(folder, 'ca-key.pem'));
  const again = await autoTls(directory, [], 1);
  assert.notEqual(again.client.ca, client.ca, 'an authority without its key is none');
});

test('credentials made here open a cluster that asks for them, in the client and on the command line', async t => {
  const dataDir = join(await place(t), 'data');
  const tls = { clientCertAuth: true };
  const options = { members: 1, dataDir, tls, logLevel: 'error' } as const;
  const cluster = await startCluster(options);
  const { files } = cluster.tls ?? assert.fail();
  {
    using client = connect({ endpoints: cluster.endpoints, tls: cluster.tls ?? {} });
    await client.put('greeting', 'hello');
  }
  const printed: string[] = [];
  const print = { out: (text: string) => printed.push(text), error: (text: string) => printed.push(text) };
  const at = ['--endpoints', cluster.endpoints[0] ?? '', '--cacert', files.ca];
  const credentials = ['--cert', files.cert, '--key', files.key];
  assert.equal(await memberCommand(['list', ...at, ...credentials], print), 0);
  assert.match(printed.join(''), new RegExp(`m1 {2}${cluster.endpoints[0]}`));
  const file = join(dataDir, '..', 'saved.db');
  assert.equal(await snapshotCommand(['save', file, ...at, ...credentials], print), 0);
  assert.ok(statSync(file).size > 0);
  await assert.rejects(memberCommand(['list', ...at, '--cert', files.cert], print), /--cert and --key go together/);
  await cluster.close();
  await using reopened = await startCluster(options);
  assert.deepEqual(reopened.tls, cluster.tls);
});

test('members tell clients what they are told to tell', async () => {
  const advertiseClientUrls = ['https://etcd.test:2379'];
  await using cluster = await startCluster({ members: 1, tls: true, advertiseClientUrls });
  const [member] = await cluster.client().memberList();
  assert.deepEqual(member?.clientUrls, advertiseClientUrls);
});
