/**
 * The certificates that are served now, and their replacement when the files change.
 *
 *     new connection -> files as before? --- yes --> the context as before
 *                              `--- no --> read, check --- good --> a new context
 *                                                 `--- not good --> the context as before, and a line in the log
 *
 * etcd reads its certificate for every handshake. Here every handshake looks whether the files are still the same ones:
 * the same promise, for a few microseconds. A certificate and its key are two files and change one after the other; in
 * between they do not match, and the old pair goes on.
 *
 * Invariant: with the context the keys of session tickets change too, so no session outlives the files it was made
 * under: not the authorities that a client's certificate was verified with, nor the list of revoked ones.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { StartError } from '../data-directory.js';
import type { ClientRules } from './peer-certificate.js';
import { revokedSerials } from './revocation-list.js';
import type { ProtocolSettings } from './settings.js';

/** The files, and what they are for. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Undefined: the system's authorities, if clients are asked at all. */
  readonly trustedCaFile: string | undefined;
  readonly clientCrlFile: string | undefined;
  readonly clientCertAuth: boolean;
  readonly allowedHostnames: readonly string[];
}

/** Everything that one handshake needs. */
export interface TlsContext {
  readonly options: SecureContextOptions;
  readonly rules: ClientRules;
}

const errorTexts: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
};

export class TlsContexts {
  readonly files: TlsFiles;
  readonly #protocol: ProtocolSettings;
  readonly #logger: Logger;
  readonly #paths: readonly string[];
  #stamp: string;
  #current: TlsContext;

  /** Reads the files; throws StartError, one line that names the file. */
  constructor(files: TlsFiles, protocol: ProtocolSettings, logger: Logger) {
    this.files = files;
    this.#protocol = protocol;
    this.#logger = logger;
    const { certFile, keyFile, trustedCaFile, clientCrlFile } = files;
    this.#paths = [certFile, keyFile, trustedCaFile, clientCrlFile].filter(path => path !== undefined);
    // Before they are read: what is written after that is seen as a change.
    this.#stamp = stampOf(this.#paths);
    this.#current = load(files, protocol);
  }

  /** The context for a connection that begins now: the same object until the files have changed. */
  get current(): TlsContext {
    const stamp = stampOf(this.#paths);
    if (stamp === this.#stamp) return this.#current;
    this.#stamp = stamp;
    try {
      this.#current = load(this.files, this.#protocol);
      this.#logger.info({ certFile: this.files.certFile }, 'TLS files have changed; new connections use the new ones');
    } catch (error) {
      this.#logger.error({ err: error }, 'TLS files have changed and cannot be used; the old ones stay in use');
    }
    return this.#current;
  }
}

/** Tells one state of the files from another. */
function stampOf(paths: readonly string[]): string {
  const stamps = paths.map(path => {
    try {
      const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    }
  });
  return stamps.join('|');
}

function load(files: TlsFiles, protocol: ProtocolSettings): TlsContext {
  const { certFile, keyFile, trustedCaFile, clientCrlFile, allowedHostnames } = files;
  const cert = read('--cert-file', certFile);
  const key = read('--key-file', keyFile);
  checkPair(certificateOf('--cert-file', certFile, cert), keyOf(keyFile, key), files);
  const ca = trustedCaFile === undefined ? undefined : read('--trusted-ca-file', trustedCaFile);
  if (ca !== undefined) certificateOf('--trusted-ca-file', trustedCaFile as string, ca);
  const options = { cert, key, ...(ca === undefined ? {} : { ca }), ...protocol, honorCipherOrder: true };
  try {
    createSecureContext(options);
  } catch (error) {
    throw new StartError(`TLS with ${certFile} and ${keyFile} does not work: ${(error as Error).message}`);
  }
  return { options, rules: { revoked: revokedOf(clientCrlFile), allowedHostnames } };
}

function read(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw new StartError(`${flag}: open ${path}: ${errorTexts[code] ?? code}`);
  }
}

function certificateOf(flag: string, path: string, pem: Buffer): X509Certificate {
  try {
    if (pem.includes('-----BEGIN')) return new X509Certificate(pem);
  } catch {
    // Said below.
  }
  throw new StartError(`${flag}: ${path} holds no certificate in PEM form`);
}

function keyOf(path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    const isEncrypted = (error as NodeJS.ErrnoException).code === 'ERR_MISSING_PASSPHRASE';
    const problem = isEncrypted ? 'is encrypted with a passphrase; decrypt it' : 'holds no private key in PEM form';
    throw new StartError(`--key-file: ${path} ${problem}`);
  }
}

function checkPair(certificate: X509Certificate, key: KeyObject, { certFile, keyFile }: TlsFiles): void {
  if (!certificate.checkPrivateKey(key)) {
    throw new StartError(`tls: private key does not match public key: ${keyFile} is not the key of ${certFile}`);
  }
  const now = Date.now();
  if (Date.parse(certificate.validTo) < now) {
    throw new StartError(`--cert-file: ${certFile} has expired on ${certificate.validTo}; renew it`);
  }
  if (Date.parse(certificate.validFrom) > now) {
    throw new StartError(`--cert-file: ${certFile} is not valid before ${certificate.validFrom}`);
  }
}

function revokedOf(path: string | undefined): ReadonlySet<string> | undefined {
  if (path === undefined) return undefined;
  const file = read('--client-crl-file', path);
  try {
    return revokedSerials(file);
  } catch (error) {
    throw new StartError(`--client-crl-file: ${path}: ${(error as Error).message}`);
  }
}
