/**
 * One TLS endpoint: who gets in, which protocol it speaks, what happens to the rest, and how certificates change.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect } from 'node:tls';
import { pino } from 'pino';
import { TlsContexts, type TlsFiles } from '../../../src/host/tls/contexts.js';
import { type Protocol, TlsFront } from '../../../src/host/tls/front.js';
import { protocolSettings } from '../../../src/host/tls/settings.js';
import { startCluster } from '../../../src/index.js';
import { type CertificateName, certificates } from '../../support/certificates.js';
import { ownDirectory } from '../../support/server-process.js';

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly error?: string;
  readonly 'remote-addr'?: string;
}

interface Stage {
  readonly port: number;
  readonly front: TlsFront;
  readonly lines: Line[];
  /** Who was let in, in order. */
  readonly guests: { readonly protocol: Protocol; readonly commonName: string | undefined }[];
}

/** An endpoint that says `hello` to whoever gets in. */
async function stage(t: TestContext, files: Partial<TlsFiles>, timeoutMs?: number): Promise<Stage> {
  const { of } = await certificates();
  const { certFile, keyFile } = of.server;
  const lines: Line[] = [];
  const logger = pino(
    { level: 'debug', base: null, timestamp: false },
    { write: line => lines.push(JSON.parse(line) as Line) },
  );
  const none = { trustedCaFile: undefined, clientCrlFile: undefined, clientCertAuth: false, allowedHostnames: [] };
  const contexts = new TlsContexts({ certFile, keyFile, ...none, ...files }, protocolSettings({}), logger);
  const guests: Stage['guests'] = [];
  const ready = (socket: Socket, protocol: Protocol, commonName: string | undefined): void => {
    guests.push({ protocol, commonName });
    socket.end('hello');
  };
  const front = new TlsFront(contexts, logger, ready, timeoutMs);
  const server = createServer(socket => front.accept(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    front.close();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, front, lines, guests };
}

/** What a client hears: `hello`, or how it was turned away. */
async function visit(port: number, options: ConnectionOptions): Promise<{ heard: string; isReused: boolean }> {
  const { ca } = await certificates();
  const socket = connect({ host: '127.0.0.1', port, ca: ca.cert, ...options });
  let heard = '';
  socket.on('data', chunk => {
    heard += String(chunk);
  });
  socket.on('error', error => {
    heard = (error as NodeJS.ErrnoException).code ?? error.message;
  });
  let isReused = false;
  socket.on('secureConnect', () => {
    isReused = socket.isSessionReused();
  });
  await closed(socket);
  return { heard, isReused };
}

/** Not `once`, which a socket's error would end. */
function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => socket.once('close', () => resolve()));
}

async function asClient(port: number, name: CertificateName, options: ConnectionOptions = {}): Promise<string> {
  const { cert, key } = (await certificates()).of[name];
  return (await visit(port, { cert, key, ...options })).heard;
}

test('clients are let in as Go lets them in', async t => {
  const { ca, crlFile } = await certificates();
  const { port, guests } = await stage(t, { trustedCaFile: ca.certFile, clientCertAuth: true, clientCrlFile: crlFile });
  const outcomes: Record<string, boolean> = {};
  const names = ['client', 'other', 'expired', 'early', 'serverOnly', 'anyUsage', 'stranger'] as const;
  for (const name of [...names, 'intermediateClient'] as const) {
    outcomes[name] = (await asClient(port, name)) === 'hello';
  }
  outcomes.none = (await visit(port, {})).heard === 'hello';
  assert.deepEqual(outcomes, {
    client: true,
    other: false, // revoked
    expired: false,
    early: false,
    serverOnly: false, // not for clients
    anyUsage: true,
    stranger: false, // of another authority
    intermediateClient: false, // the intermediate's certificate was not shown
    none: false,
  });
  assert.deepEqual(
    guests.map(({ commonName }) => commonName),
    ['alice', 'any-usage'],
  );
});

test('an intermediate authority in the trusted file is a root, as in Go', async t => {
  const { intermediate } = await certificates();
  const { port, guests } = await stage(t, { trustedCaFile: intermediate.certFile, clientCertAuth: true });
  assert.equal(await asClient(port, 'intermediateClient'), 'hello');
  assert.notEqual(await asClient(port, 'client'), 'hello');
  assert.deepEqual(guests, [{ protocol: undefined, commonName: 'carol' }]);
});

test('an intermediate that is shown leads to the root', async t => {
  const { ca, intermediate, of } = await certificates();
  const { port } = await stage(t, { trustedCaFile: ca.certFile, clientCertAuth: true });
  const { cert, key } = of.intermediateClient;
  assert.equal((await visit(port, { cert: cert + intermediate.cert, key })).heard, 'hello');
});

test('host names that client certificates must be for: alternative names alone count', async t => {
  const { ca } = await certificates();
  const files = { trustedCaFile: ca.certFile, clientCertAuth: true };
  for (const [allowed, isIn] of [
    ['alice.test', true],
    ['10.1.2.3', true],
    ['alice', false], // its common name
    ['other.test', false],
  ] as const) {
    const { port, lines } = await stage(t, { ...files, allowedHostnames: ['nobody.test', allowed] });
    assert.equal((await asClient(port, 'client')) === 'hello', isIn, allowed);
    const errors = lines.map(({ error }) => error);
    assert.deepEqual(errors, isIn ? [] : ['client certificate authentication failed']);
  }
});

test('nobody is asked for a certificate unless it is wanted, and ALPN chooses the protocol', async t => {
  const { port, guests } = await stage(t, {});
  assert.equal(await asClient(port, 'stranger', { ALPNProtocols: ['h2'] }), 'hello');
  assert.equal((await visit(port, { ALPNProtocols: ['http/1.1'] })).heard, 'hello');
  assert.equal((await visit(port, { ALPNProtocols: ['http/1.1', 'h2'] })).heard, 'hello');
  assert.match((await visit(port, { ALPNProtocols: ['spdy/3'] })).heard, /NO_APPLICATION_PROTOCOL/);
  assert.deepEqual(
    guests.map(({ protocol, commonName }) => [protocol, commonName]),
    [
      ['h2', undefined],
      ['http/1.1', undefined],
      ['h2', undefined],
    ],
  );
});

test('who was turned away and why is logged as by etcd', async t => {
  const { ca, crlFile, of } = await certificates();
  const files = { trustedCaFile: ca.certFile, clientCertAuth: true };
  const reasons: Record<string, unknown> = {};
  const logged = async (name: string, visitWith: (port: number) => Promise<unknown>, more: Partial<TlsFiles> = {}) => {
    const { port, lines } = await stage(t, { ...files, ...more });
    await visitWith(port);
    while (lines.length === 0) await new Promise(setImmediate);
    const [{ level, msg, 'remote-addr': address, ...rest }] = lines as [Line];
    assert.match(address ?? '', /^127\.0\.0\.1:\d+$/, name);
    assert.deepEqual([lines.length, msg], [1, 'rejected connection on client endpoint'], name);
    reasons[name] = { ...rest, level };
  };
  for (const name of ['stranger', 'expired', 'early', 'serverOnly'] as const) {
    await logged(name, port => asClient(port, name, { servername: 'localhost' }));
  }
  await logged('old', port => asClient(port, 'stranger', { maxVersion: 'TLSv1.2' }));
  await logged('none', port => visit(port, {}));
  await logged('revoked', port => asClient(port, 'other'), { clientCrlFile: crlFile });
  await logged('not allowed', port => asClient(port, 'client'), { allowedHostnames: ['nobody.test'] });
  await logged('gone', port => closed(connectPlain(port, '127.0.0.1').end()));
  const warned = { level: 40, 'server-name': '' };
  const named = { level: 40, 'server-name': 'localhost' };
  const x509 = 'tls: failed to verify certificate: x509: ';
  const outOfTime = `${x509}certificate has expired or is not yet valid`;
  const serial = new X509Certificate(of.other.cert).serialNumber.toLowerCase().replace(/^0+/, '');
  assert.deepEqual(reasons, {
    stranger: { ...named, error: `${x509}certificate signed by unknown authority` },
    expired: { ...named, error: outOfTime },
    early: { ...named, error: outOfTime },
    serverOnly: { ...named, error: `${x509}certificate specifies an incompatible key usage` },
    old: { ...warned, error: `${x509}certificate signed by unknown authority` },
    none: { ...warned, error: "tls: client didn't provide a certificate" },
    revoked: {
      ...{ ...warned, 'ip-addresses': [], 'dns-names': ['bob.test'] },
      error: `transport: certificate serial ${serial} revoked`,
    },
    'not allowed': {
      ...{ ...warned, 'ip-addresses': ['10.1.2.3'], 'dns-names': ['alice.test'] },
      error: 'client certificate authentication failed',
    },
    gone: { level: 20, 'server-name': '', error: 'EOF' },
  });
});

test('plaintext is turned away at once, silence after a while, and neither is left over', async t => {
  const { port, front, lines } = await stage(t, {}, 200);
  for (const first of ['GET / HTTP/1.1\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '']) {
    const socket = connectPlain(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(first);
    socket.resume();
    await closed(socket);
  }
  assert.equal(front.handshakes, 0);
  assert.equal(lines[0]?.msg, 'rejected connection on client endpoint');
  assert.equal(lines[0]?.error, 'tls: first record does not look like a TLS handshake');
  assert.equal((await visit(port, {})).heard, 'hello');
});

test('what is still shaking hands is cut when the endpoint closes', async t => {
  const { port, front } = await stage(t, {});
  const socket = connectPlain(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'connect');
  while (front.handshakes === 0) await new Promise(setImmediate);
  const gone = closed(socket);
  front.close();
  await gone;
  assert.equal(front.handshakes, 0);
});

test('new files are used by the next connection; broken ones are not', async t => {
  const { of } = await certificates();
  const directory = await ownDirectory('kvorum-reload-');
  t.after(() => directory.remove());
  const [certFile, keyFile] = [join(directory.path, 'cert.pem'), join(directory.path, 'key.pem')];
  const put = (name: CertificateName): void => {
    copyFileSync(of[name].certFile, certFile);
    copyFileSync(of[name].keyFile, keyFile);
  };
  put('server');
  const { port, lines } = await stage(t, { certFile, keyFile });
  const served = async (): Promise<string> => {
    const { ca } = await certificates();
    const socket = connect({ host: '127.0.0.1', port, ca: ca.cert });
    await once(socket, 'secureConnect');
    const name = socket.getPeerCertificate().subject.CN;
    socket.destroy();
    return String(name);
  };
  assert.equal(await served(), 'server');
  copyFileSync(of.successor.certFile, certFile);
  assert.equal(await served(), 'server', 'a certificate without its key is not used');
  copyFileSync(of.successor.keyFile, keyFile);
  assert.equal(await served(), 'successor');
  writeFileSync(certFile, 'nonsense');
  assert.equal(await served(), 'successor');
  assert.equal(await served(), 'successor');
  put('expiredServer');
  assert.equal(await served(), 'successor', 'an expired one is not used either');
  put('server');
  assert.equal(await served(), 'server');
  await directory.remove();
  writeFileSync(directory.path, 'no directory any more');
  assert.equal(await served(), 'server', 'nor are files that are gone');
  const changes = lines.filter(({ msg }) => msg.startsWith('TLS files'));
  const told = changes.map(({ msg }) => (msg.includes('cannot be used') ? 'kept' : 'changed'));
  assert.deepEqual(told, ['kept', 'changed', 'kept', 'kept', 'changed', 'kept']);
});

test('a session does not outlive the files it was made under', async t => {
  const { ca, crlFile, of } = await certificates();
  const directory = await ownDirectory('kvorum-crl-');
  t.after(() => directory.remove());
  const list = join(directory.path, 'revoked.pem');
  // Nobody in it is known here.
  const { issueRevocationList } = await import('../../../src/tasks/certificates.js');
  writeFileSync(list, await issueRevocationList(ca, []));
  const { port } = await stage(t, { trustedCaFile: ca.certFile, clientCertAuth: true, clientCrlFile: list });
  const { cert, key } = of.other;
  let session: Buffer | undefined;
  const first = connect({ host: '127.0.0.1', port, ca: ca.cert, cert, key });
  first.on('session', ticket => {
    session = ticket;
  });
  first.resume();
  await closed(first);
  assert.ok(session !== undefined);
  const again = await visit(port, { cert, key, session });
  assert.equal(again.heard, 'hello');
  assert.equal(again.isReused, true);
  copyFileSync(crlFile, list);
  const revoked = await visit(port, { cert, key, session });
  assert.notEqual(revoked.heard, 'hello');
  assert.equal(revoked.isReused, false);
});

test('a cluster with tls: true: HTTP/1 and HTTP/2, metrics and health, each over https', async () => {
  await using cluster = await startCluster({ members: 1, tls: true });
  const { tls: credentials, endpoints } = cluster;
  assert.ok(credentials !== undefined);
  const [endpoint] = endpoints as [string];
  assert.match(endpoint, /^https:/);
  const client = cluster.client();
  assert.deepEqual((await client.memberList())[0]?.clientUrls, [endpoint]);
  const { ca } = credentials;
  const get = async (path: string): Promise<[number | undefined, string]> => {
    const sent = request(`${endpoint}${path}`, { ca, agent: false }).end();
    const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return [response.statusCode, Buffer.concat(chunks).toString()];
  };
  assert.deepEqual(await get('/health'), [200, '{"health":"true","reason":""}']);
  assert.equal((await get('/metrics'))[0], 200);
  const session = connectHttp2(endpoint, { ca });
  const stream = session.request({ ':path': '/version' });
  const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
  assert.equal(headers[':status'], 200);
  stream.resume();
  await once(stream, 'end');
  session.close();
});
