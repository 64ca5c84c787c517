/**
 * The certificates of --auto-tls: made once, kept in the data directory, used again by the next start.
 *
 *     <data directory>/tls/    ca.pem ca-key.pem           signs the others
 *                              server.pem server-key.pem   for the listen addresses, localhost, 127.0.0.1 and ::1
 *                              client.pem client-key.pem   for etcdctl and other clients
 *
 * The authority outlives the certificates, so that clients who trust it need not hear of new ones. What is there is
 * used as long as it is whole, in its time, and for every address that is listened on; otherwise it is made anew, by
 * the old authority if that still can. Nobody but the owner reads the files.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { CredentialsPem } from '../../transport/tasks.js';
import { StartError } from '../data-directory.js';
import { runTask } from '../tasks.js';
import { isFor } from './peer-certificate.js';

/** What a client needs to connect: in PEM, and where the files lie that say the same. */
export interface ClientCredentials extends CredentialsPem {
  /** The certificate of the authority that signed the server's. */
  readonly ca: string;
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string };
}

export interface AutoTls {
  readonly server: { readonly certFile: string; readonly keyFile: string };
  readonly caFile: string;
  readonly client: ClientCredentials;
}

const dayMs = 24 * 3_600_000;
const yearMs = 365 * dayMs;
const authorityYears = 10;
/** What ends sooner than this after a start is renewed by it. */
const renewMs = 30 * dayMs;
const localHosts = ['localhost', '127.0.0.1', '::1'];

/** The certificates below `directory`, made or renewed if need be. Rejects with StartError. */
export async function autoTls(directory: string, listenHosts: readonly string[], years: number): Promise<AutoTls> {
  if (!Number.isInteger(years) || years < 1) {
    throw new StartError('selfSignedCertValidity is invalid,it should be greater than 0');
  }
  // Absolute: the paths are printed for programs that run elsewhere.
  const folder = resolve(directory, 'tls');
  const hosts = [...new Set([...listenHosts, ...localHosts])];
  const now = Date.now();
  const authority = usable(folder, 'ca', now);
  const server = authority && usable(folder, 'server', now, authority);
  const client = authority && usable(folder, 'client', now, authority);
  const isComplete = server !== undefined && client !== undefined && coversAll(server, hosts);
  if (!isComplete) {
    const untilMs = now + years * yearMs;
    const authorityUntilMs = Math.max(untilMs, now + authorityYears * yearMs);
    const issued = await runTask('issueCertificates', { authority, hosts, untilMs, authorityUntilMs });
    keep(folder, { ca: issued.authority, server: issued.server, client: issued.client });
  }
  const [ca, cert, key] = [pathOf(folder, 'ca'), pathOf(folder, 'client'), keyPathOf(folder, 'client')];
  const [caPem, certPem, keyPem] = [ca, cert, key].map(path => readFileSync(path, 'utf8')) as [string, string, string];
  return {
    server: { certFile: pathOf(folder, 'server'), keyFile: keyPathOf(folder, 'server') },
    caFile: ca,
    client: { ca: caPem, cert: certPem, key: keyPem, files: { ca, cert, key } },
  };
}

type Part = 'ca' | 'server' | 'client';

function pathOf(folder: string, part: Part): string {
  return join(folder, `${part}.pem`);
}

function keyPathOf(folder: string, part: Part): string {
  return join(folder, `${part}-key.pem`);
}

/** A pair of files that may go on being used; undefined: it has to be made. */
function usable(folder: string, part: Part, now: number, authority?: CredentialsPem): CredentialsPem | undefined {
  try {
    const cert = readFileSync(pathOf(folder, part), 'utf8');
    const key = readFileSync(keyPathOf(folder, part), 'utf8');
    const certificate = new X509Certificate(cert);
    const signer = new X509Certificate(authority?.cert ?? cert);
    const isOurs = certificate.checkIssued(signer) && certificate.verify(signer.publicKey);
    const isInTime = Date.parse(certificate.validTo) > now + renewMs && Date.parse(certificate.validFrom) <= now;
    const isPair = certificate.checkPrivateKey(createPrivateKey(key));
    return isOurs && isInTime && isPair ? { cert, key } : undefined;
  } catch {
    return undefined; // not there, or no longer what it was
  }
}

function coversAll({ cert }: CredentialsPem, hosts: readonly string[]): boolean {
  const certificate = new X509Certificate(cert);
  return hosts.every(host => isFor(certificate, host));
}

/** Each file appears whole; a start that is killed in between finds a pair that does not match, and makes it again. */
function keep(folder: string, parts: Readonly<Record<Part, CredentialsPem>>): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const part of ['ca', 'server', 'client'] as const) {
      for (const [path, pem] of [
        [keyPathOf(folder, part), parts[part].key],
        [pathOf(folder, part), parts[part].cert],
      ] as const) {
        writeFileSync(`${path}.new`, pem, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }
    }
  } catch (error) {
    throw new StartError(`--auto-tls: cannot write ${folder}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
