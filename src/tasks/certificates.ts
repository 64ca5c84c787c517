/**
 * Issues X.509 certificates: an authority of one's own, and what it signs (ECDSA P-256).
 *
 * A job of a task thread: the library that knows the format takes 200 ms to load, and wants functions on the global
 * Reflect that no program should find there because it started a cluster.
 */
import { randomBytes, webcrypto } from 'node:crypto';
import type * as X509 from '@peculiar/x509';
import type { CertificateTask, CredentialsPem, IssuedCertificates } from '../transport/tasks.js';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** A certificate is valid from a little before it was made: clocks differ. */
const clockSkewMs = 5 * 60_000;
const organization = 'kvorum';
const ipAddress = /^\d+(\.\d+){3}$|:/;

export interface CertificateRequest {
  readonly commonName: string;
  /** Names and addresses it is for. */
  readonly hosts?: readonly string[];
  readonly usages: readonly ('serverAuth' | 'clientAuth')[];
  /** Milliseconds of the epoch; `fromMs` by default a little before now. */
  readonly fromMs?: number;
  readonly untilMs: number;
  /** It may sign others. */
  readonly isAuthority?: boolean;
}

let loading: Promise<typeof X509> | undefined;

/** The certificates of --auto-tls: all of them, or those that an existing authority is to sign anew. */
export async function issueCertificates(task: CertificateTask): Promise<IssuedCertificates> {
  const { hosts, untilMs, authorityUntilMs } = task;
  const authority =
    task.authority ?? (await issueAuthority({ commonName: 'kvorum CA', usages: [], untilMs: authorityUntilMs }));
  const server = { commonName: 'kvorum server', hosts, usages: ['serverAuth'], untilMs } as const;
  const client = { commonName: 'kvorum-client', usages: ['clientAuth'], untilMs } as const;
  return { authority, server: await issue(authority, server), client: await issue(authority, client) };
}

/** A certificate that signs itself, and its key. */
export async function issueAuthority(request: CertificateRequest): Promise<CredentialsPem> {
  const x509 = await load();
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...(await common(x509, { ...request, isAuthority: true }, keys.publicKey)),
    name: nameOf(request.commonName),
    keys,
  });
  return { cert: `${certificate.toString('pem')}\n`, key: await keyPem(x509, keys.privateKey) };
}

/** A certificate that `authority` signs, and its key. */
export async function issue(authority: CredentialsPem, request: CertificateRequest): Promise<CredentialsPem> {
  const x509 = await load();
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const issuer = new x509.X509Certificate(authority.cert);
  const parameters = await common(x509, request, keys.publicKey);
  const certificate = await x509.X509CertificateGenerator.create({
    ...parameters,
    subject: nameOf(request.commonName),
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await signingKeyOf(x509, authority),
    extensions: [
      ...parameters.extensions,
      await x509.AuthorityKeyIdentifierExtension.create(await issuer.publicKey.export()),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: await keyPem(x509, keys.privateKey) };
}

/** A list, in PEM, of certificates that `authority` takes back. */
export async function issueRevocationList(authority: CredentialsPem, revoked: readonly string[]): Promise<string> {
  const x509 = await load();
  const entries = revoked.map(pem => ({
    serialNumber: new x509.X509Certificate(pem).serialNumber,
    revocationDate: new Date(),
  }));
  const list = await x509.X509CrlGenerator.create({
    issuer: new x509.X509Certificate(authority.cert).subject,
    thisUpdate: new Date(Date.now() - clockSkewMs),
    nextUpdate: new Date(Date.now() + 24 * 3_600_000),
    entries,
    signingAlgorithm: algorithm,
    signingKey: await signingKeyOf(x509, authority),
  });
  return `${x509.PemConverter.encode(list.rawData, 'X509 CRL')}\n`;
}

async function common(x509: typeof X509, request: CertificateRequest, publicKey: webcrypto.CryptoKey) {
  const { hosts = [], usages, isAuthority = false, fromMs = Date.now() - clockSkewMs, untilMs } = request;
  const { KeyUsageFlags, ExtendedKeyUsage } = x509;
  const keyUsage = isAuthority ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign : KeyUsageFlags.digitalSignature;
  const extensions: X509.Extension[] = [
    new x509.BasicConstraintsExtension(isAuthority, undefined, true),
    new x509.KeyUsagesExtension(keyUsage, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
  ];
  if (usages.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension(usages.map(one => ExtendedKeyUsage[one])));
  const names = hosts.map(value => ({ type: ipAddress.test(value) ? 'ip' : 'dns', value }) as const);
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names));
  // The first bit is clear: the number is positive whoever reads it.
  const serialNumber = (0x40 | ((randomBytes(1)[0] as number) & 0x3f)).toString(16) + randomBytes(15).toString('hex');
  const dates = { notBefore: new Date(fromMs), notAfter: new Date(untilMs) };
  return { serialNumber, ...dates, signingAlgorithm: algorithm, extensions };
}

/** Common names are ours, but may come from a test: `,` and `=` mean something in a name's text. */
function nameOf(commonName: string): X509.JsonName {
  return [{ O: [organization] }, { CN: [commonName] }];
}

async function signingKeyOf(x509: typeof X509, { key }: CredentialsPem): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), algorithm, false, ['sign']);
}

async function keyPem(x509: typeof X509, key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function load(): Promise<typeof X509> {
  loading ??= loadOnce();
  return loading;
}

/** The library injects its parts into one another by declared types, of which it has none: nothing is ever found. */
async function loadOnce(): Promise<typeof X509> {
  const reflect = Reflect as { getMetadata?: unknown; getOwnMetadata?: unknown; defineMetadata?: unknown };
  const isMissing = reflect.getMetadata === undefined;
  if (isMissing) Object.assign(reflect, { getMetadata: nothing, getOwnMetadata: nothing, defineMetadata: nothing });
  const x509 = await import('@peculiar/x509');
  if (isMissing) for (const name of ['getMetadata', 'getOwnMetadata', 'defineMetadata'] as const) delete reflect[name];
  return x509;
}

function nothing(): undefined {}
