/**
 * TLS as etcd has it: the same certificates given to real servers of both releases and to kvorum, and etcdctl let in or
 * turned away by each.
 *
 * What etcdctl itself finds wrong with a server is compared word by word. What a server finds wrong with etcdctl is not:
 * Go's server sends an alert and closes, the client may read the alert, fail to write first or see the end, and between
 * two runs against the same etcd says now this and now that; OpenSSL's server closes, with an alert only if there was no
 * certificate at all. That all of them turn it away is compared, and the exit code.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Etcd3 } from 'etcd3';
import { connect, startCluster } from '../../src/index.js';
import { type CertificateName, type Certificates, certificates } from '../support/certificates.js';
import type { Family } from '../support/differential.js';
import { type EtcdBinaries, requireEtcd } from '../support/etcd.js';
import { environmentWithout, ownDirectory } from '../support/server-process.js';
import { type Subject, startSubject } from '../support/subject.js';

interface Outcome {
  readonly code: number | string | null;
  readonly output: string;
}

const turnedAway: Outcome = { code: 1, output: 'turned away by the server' };
const families: readonly Family[] = ['etcd-3.4', 'etcd-3.5', 'kvorum'];

/** Runs etcdctl and says what it printed, or what it had against the server. */
function control(program: string, endpoints: readonly string[], flags: readonly string[]): Promise<Outcome> {
  const patience = ['--dial-timeout=1s', '--command-timeout=1s'];
  const given = ['--endpoints', endpoints.join(','), ...patience, ...flags];
  const env = { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' };
  return new Promise(resolve => {
    execFile(program, given, { env }, (error, stdout, stderr) => {
      if (error === null) return resolve({ code: 0, output: stdout.trim() });
      const reason = /x509: [^"\\]*/.exec(stderr)?.[0] ?? turnedAway.output;
      resolve({ code: error.code ?? null, output: reason });
    });
  });
}

async function peers(t: TestContext): Promise<EtcdBinaries[] | undefined> {
  const found = [await requireEtcd(t, '3.4'), await requireEtcd(t, '3.5')];
  return found.every(one => one !== undefined) ? found : undefined;
}

async function startAll(t: TestContext, tls: readonly string[]): Promise<Subject[]> {
  const subjects = await Promise.all(
    families.map(family => startSubject(family, { members: family === 'kvorum' ? 3 : 1, tls })),
  );
  t.after(() => Promise.all(subjects.map(subject => subject.stop())));
  return subjects;
}

function as({ of }: Certificates, name: CertificateName): string[] {
  return ['--cert', of[name].certFile, '--key', of[name].keyFile];
}

function serverFlags({ of }: Certificates, name: CertificateName = 'server'): string[] {
  return ['--cert-file', of[name].certFile, '--key-file', of[name].keyFile];
}

/** The same command everywhere; every outcome has to be that of the first. */
async function compare(
  programs: readonly EtcdBinaries[],
  subjects: readonly Subject[],
  cases: Readonly<Record<string, readonly string[]>>,
): Promise<Record<string, Outcome>> {
  const seen: Record<string, Outcome> = {};
  const remaining = Object.entries(cases);
  const next = async (): Promise<void> => {
    const one = remaining.shift();
    if (one === undefined) return;
    const [name, flags] = one;
    const scheme = flags.includes('--insecure-transport=true') ? 'http' : 'https';
    const runs = programs.flatMap(({ control: program }) =>
      subjects.map(({ endpoints }) =>
        control(program, [`${scheme}://${endpoints[0]}`], [...flags, 'put', 'greeting', 'hello']),
      ),
    );
    const outcomes = await Promise.all(runs);
    // The older etcdctl does not say why: it has to fail, or not, like the newer.
    const newer = outcomes.slice(subjects.length);
    for (const outcome of newer) assert.deepEqual(outcome, newer[0], name);
    for (const outcome of outcomes) assert.equal(outcome.code, newer[0]?.code, name);
    seen[name] = newer[0] as Outcome;
    await next();
  };
  // Whoever is turned away tries until its patience ends, and uses no CPU for it.
  await Promise.all(Array.from({ length: 3 }, next));
  return seen;
}

test('client certificates: let in and turned away as by etcd', async t => {
  const programs = await peers(t);
  if (programs === undefined) return;
  const made = await certificates();
  const { ca, otherCa, crlFile } = made;
  const wanted = ['--client-cert-auth', '--trusted-ca-file', ca.certFile, '--client-crl-file', crlFile];
  const subjects = await startAll(t, [...serverFlags(made), ...wanted]);
  const trusting = ['--cacert', ca.certFile];
  const seen = await compare(programs, subjects, {
    good: [...trusting, ...as(made, 'client')],
    'no usage said': [...trusting, ...as(made, 'anyUsage')],
    'any server will do': ['--insecure-skip-tls-verify', ...as(made, 'client')],
    'no certificate': trusting,
    'certificate of another authority': [...trusting, ...as(made, 'stranger')],
    expired: [...trusting, ...as(made, 'expired')],
    'not valid yet': [...trusting, ...as(made, 'early')],
    revoked: [...trusting, ...as(made, 'other')],
    'certificate for servers': [...trusting, ...as(made, 'serverOnly')],
    'without an authority': as(made, 'client'),
    'server of another authority': ['--cacert', otherCa.certFile, ...as(made, 'client')],
    plaintext: ['--insecure-transport=true'],
  });
  const ok = { code: 0, output: 'OK' };
  const unknown = { code: 1, output: 'x509: certificate signed by unknown authority' };
  assert.deepEqual(seen, {
    good: ok,
    'no usage said': ok,
    'any server will do': ok,
    'no certificate': turnedAway,
    'certificate of another authority': turnedAway,
    expired: turnedAway,
    'not valid yet': turnedAway,
    revoked: turnedAway,
    'certificate for servers': turnedAway,
    'without an authority': unknown,
    'server of another authority': unknown,
    plaintext: turnedAway,
  });
  // All three members, at once and one by one.
  const { endpoints } = subjects[2] as Subject;
  const urls = endpoints.map(endpoint => `https://${endpoint}`);
  const flags = [...trusting, ...as(made, 'client')];
  for (const { control: program } of programs) {
    for (const some of [urls, ...urls.map(url => [url])]) {
      assert.deepEqual(await control(program, some, [...flags, 'get', 'greeting']), {
        code: 0,
        output: 'greeting\nhello',
      });
    }
    const listed = await control(program, urls, [...flags, 'member', 'list']);
    for (const url of urls) assert.ok(listed.output.includes(url), listed.output);
  }
});

test('a trusted authority alone asks for certificates, and a certificate changes under a running server', async t => {
  const programs = await peers(t);
  if (programs === undefined) return;
  const made = await certificates();
  const directory = await ownDirectory('kvorum-tls-');
  t.after(() => directory.remove());
  const [certFile, keyFile] = [join(directory.path, 'cert.pem'), join(directory.path, 'key.pem')];
  const serve = (name: CertificateName): void => {
    copyFileSync(made.of[name].certFile, certFile);
    copyFileSync(made.of[name].keyFile, keyFile);
  };
  serve('server');
  const files = ['--cert-file', certFile, '--key-file', keyFile, '--trusted-ca-file', made.ca.certFile];
  const subjects = await startAll(t, files);
  const trusting = ['--cacert', made.ca.certFile];
  const good = { good: [...trusting, ...as(made, 'client')] };
  const first = await compare(programs, subjects, { ...good, 'no certificate': trusting });
  assert.deepEqual(first, { good: { code: 0, output: 'OK' }, 'no certificate': turnedAway });
  serve('elsewhere');
  const wrong = await compare(programs, subjects, good);
  assert.equal(wrong.good?.code, 1);
  assert.match(wrong.good?.output ?? '', /x509: cannot validate certificate for 127\.0\.0\.1/);
  serve('successor');
  assert.deepEqual(await compare(programs, subjects, good), { good: { code: 0, output: 'OK' } });
});

test('npm etcd3 with a client certificate, and kvorum’s own client', async () => {
  const { ca, of } = await certificates();
  const { certFile, keyFile } = of.server;
  await using cluster = await startCluster({
    tls: { certFile, keyFile, trustedCaFile: ca.certFile },
    logLevel: 'error',
  });
  assert.equal(cluster.tls, undefined, 'the certificates are the user’s');
  const { cert, key } = of.client;
  const credentials = {
    rootCertificate: Buffer.from(ca.cert),
    privateKey: Buffer.from(key),
    certChain: Buffer.from(cert),
  };
  const client = new Etcd3({ hosts: cluster.endpoints, credentials });
  await client.put('greeting').value('hello');
  assert.equal(await client.get('greeting').string(), 'hello');
  const watcher = await client.watch().key('greeting').create();
  const changed = new Promise(resolve => watcher.on('put', event => resolve(event.value.toString())));
  await client.put('greeting').value('again');
  assert.equal(await changed, 'again');
  await watcher.cancel();
  client.close();
  using own = connect({ endpoints: cluster.endpoints, tls: { ca: ca.cert, cert, key } });
  assert.equal((await own.get('greeting'))?.value.toString(), 'again');
  using anyone = connect({ endpoints: cluster.endpoints, tls: { ca: ca.cert }, connectTimeoutMs: 500 });
  await assert.rejects(anyone.get('greeting'), { code: 14 });
  using careless = connect({ endpoints: cluster.endpoints, tls: { cert, key, insecureSkipVerify: true } });
  assert.equal((await careless.get('greeting'))?.value.toString(), 'again');
});

test('http and https side by side', async t => {
  const programs = await peers(t);
  if (programs === undefined) return;
  const { ca, of } = await certificates();
  const listenClientUrls = ['http://127.0.0.1:0', 'https://127.0.0.1:0', 'https://localhost:0'];
  const { certFile, keyFile } = of.server;
  await using cluster = await startCluster({ listenClientUrls, tls: { certFile, keyFile }, logLevel: 'error' });
  const schemes = cluster.endpoints.map(url => url.split(':')[0]);
  assert.deepEqual(schemes, ['http', 'https', 'https']);
  for (const { control: program } of programs) {
    for (const url of cluster.endpoints) {
      const written = await control(program, [url], ['--cacert', ca.certFile, 'put', 'from', url]);
      assert.deepEqual(written, { code: 0, output: 'OK' }, url);
    }
  }
  using client = connect({ endpoints: cluster.endpoints, tls: { ca: ca.cert } });
  assert.equal((await client.get('from'))?.value.toString(), cluster.endpoints[2]);
});
