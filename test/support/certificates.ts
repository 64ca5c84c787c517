/**
 * Certificates for tests: made when they are first asked for, kept for the life of the process, as PEM and as files.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CertificateRequest, issue, issueAuthority, issueRevocationList } from '../../src/tasks/certificates.js';
import type { CredentialsPem } from '../../src/transport/tasks.js';
import { ownDirectory } from './server-process.js';

const hourMs = 3_600_000;

/** A certificate with its key, in memory and on disk. */
export interface Credentials extends CredentialsPem {
  readonly certFile: string;
  readonly keyFile: string;
}

const requests = {
  server: { commonName: 'server', hosts: ['localhost', '127.0.0.1', '::1'], usages: ['serverAuth'] },
  /** The same server, for its certificate to be replaced by. */
  successor: { commonName: 'successor', hosts: ['localhost', '127.0.0.1'], usages: ['serverAuth', 'clientAuth'] },
  expiredServer: { commonName: 'expired-server', hosts: ['127.0.0.1'], usages: ['serverAuth'], untilMs: -hourMs },
  elsewhere: { commonName: 'elsewhere', hosts: ['elsewhere.test'], usages: ['serverAuth'] },
  client: { commonName: 'alice', hosts: ['alice.test', '10.1.2.3'], usages: ['clientAuth'] },
  other: { commonName: 'bob', hosts: ['bob.test'], usages: ['clientAuth'] },
  expired: { commonName: 'expired', usages: ['clientAuth'], untilMs: -hourMs },
  early: { commonName: 'early', usages: ['clientAuth'], fromMs: hourMs },
  serverOnly: { commonName: 'server-only', usages: ['serverAuth'] },
  anyUsage: { commonName: 'any-usage', usages: [] },
} as const satisfies Record<string, Partial<CertificateRequest> & Pick<CertificateRequest, 'commonName' | 'usages'>>;

export type CertificateName = keyof typeof requests | 'stranger' | 'intermediateClient';

export interface Certificates {
  readonly directory: string;
  /** The authority that signed all but `stranger`. */
  readonly ca: Credentials;
  readonly otherCa: Credentials;
  /** An authority below `ca`. */
  readonly intermediate: Credentials;
  /** Holds `other`. */
  readonly crlFile: string;
  readonly of: Readonly<Record<CertificateName, Credentials>>;
}

let made: Promise<Certificates> | undefined;

/** The same ones for every test of a process. */
export function certificates(): Promise<Certificates> {
  made ??= make();
  return made;
}

async function make(): Promise<Certificates> {
  const { path: directory } = await ownDirectory('kvorum-certificates-');
  const now = Date.now();
  const untilMs = now + 24 * hourMs;
  const keep = (name: string, { cert, key }: CredentialsPem): Credentials => {
    const [certFile, keyFile] = [join(directory, `${name}.pem`), join(directory, `${name}-key.pem`)];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key, { mode: 0o600 });
    return { cert, key, certFile, keyFile };
  };
  const ca = keep('ca', await issueAuthority({ commonName: 'test CA', usages: [], untilMs }));
  const otherCa = keep('other-ca', await issueAuthority({ commonName: 'other CA', usages: [], untilMs }));
  const below = { commonName: 'intermediate CA', usages: [], untilMs, isAuthority: true } as const;
  const intermediate = keep('intermediate', await issue(ca, below));
  const user = { commonName: 'carol', usages: ['clientAuth'], untilMs } as const;
  const entries = Object.entries(requests).map(async ([name, request]: [string, Partial<CertificateRequest>]) => {
    const fromMs = now + (request.fromMs ?? -2 * hourMs);
    const until = request.untilMs === undefined ? untilMs : now + request.untilMs;
    const complete = { commonName: name, usages: [], ...request, fromMs, untilMs: until };
    return [name, keep(name, await issue(ca, complete))] as const;
  });
  const of = {
    ...Object.fromEntries(await Promise.all(entries)),
    stranger: keep('stranger', await issue(otherCa, { ...user, commonName: 'mallory' })),
    intermediateClient: keep('intermediate-client', await issue(intermediate, user)),
  } as Record<CertificateName, Credentials>;
  const crlFile = join(directory, 'revoked.pem');
  writeFileSync(crlFile, await issueRevocationList(ca, [of.other.cert]));
  return { directory, ca, otherCa, intermediate, crlFile, of };
}
