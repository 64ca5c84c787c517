/**
 * How the client endpoints are encrypted: etcd's flags as options, and the checks that need no file.
 */
import { StartError } from '../data-directory.js';
import { cipherList } from './cipher-suites.js';

/** etcd's TLS flags of client endpoints, under their own names. */
export interface ClusterTlsOptions {
  /** PEM files of the server's certificate, its intermediates behind it, and of its key. Read again when they change. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** PEM file of the authorities whose clients are let in; given, it asks every client for a certificate. */
  readonly trustedCaFile?: string;
  /** Ask every client for a certificate. Default: if `trustedCaFile` is given. */
  readonly clientCertAuth?: boolean;
  /** Certificates that are not taken any more: a revocation list, DER or PEM. */
  readonly clientCrlFile?: string;
  /** Take client certificates only if they are for one of these host names or addresses. */
  readonly clientCertAllowedHostname?: readonly string[];
  /**
   * Make an authority, a certificate for the server and one for clients, and keep them below the data directory. Default:
   * if there is neither `certFile` nor `keyFile`.
   */
  readonly autoTls?: boolean;
  /** How many years certificates that are made here are valid; default 1. */
  readonly selfSignedCertValidity?: number;
  /** Suites of TLS 1.2 by Go's names; default: all that are good. */
  readonly cipherSuites?: readonly string[];
  /** `TLS1.2` (the default) or `TLS1.3`. */
  readonly tlsMinVersion?: string;
  /** `TLS1.2` or `TLS1.3`; default: the newest. */
  readonly tlsMaxVersion?: string;
}

/** What the files do not say, ready for node:tls. */
export interface ProtocolSettings {
  readonly ciphers: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly maxVersion: 'TLSv1.2' | 'TLSv1.3';
}

const versions = { 'TLS1.2': 'TLSv1.2', 'TLS1.3': 'TLSv1.3' } as const;

/** Versions and suites; throws StartError with etcd's texts. */
export function protocolSettings(options: ClusterTlsOptions): ProtocolSettings {
  const { cipherSuites = [], tlsMinVersion = '', tlsMaxVersion = '' } = options;
  const minVersion = versionOf(tlsMinVersion) ?? 'TLSv1.2';
  const maxVersion = versionOf(tlsMaxVersion) ?? 'TLSv1.3';
  if (minVersion > maxVersion) {
    throw new StartError(`min version (${tlsMinVersion}) is greater than max version (${tlsMaxVersion})`);
  }
  if (minVersion === 'TLSv1.3' && cipherSuites.length > 0) {
    throw new StartError('cipher suites cannot be configured when only TLS1.3 is enabled');
  }
  return { ciphers: cipherList(cipherSuites), minVersion, maxVersion };
}

function versionOf(text: string): 'TLSv1.2' | 'TLSv1.3' | undefined {
  if (text === '') return undefined;
  if (text === 'TLS1.2' || text === 'TLS1.3') return versions[text];
  throw new StartError(`unexpected TLS version ${JSON.stringify(text)} (must be one of: TLS1.2, TLS1.3)`);
}
