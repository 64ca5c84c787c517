/**
 * From the options to what endpoints need to serve TLS. Loaded only by clusters that serve it.
 */
import type { Logger } from 'pino';
import { StartError } from '../data-directory.js';
import { autoTls, type ClientCredentials } from './auto.js';
import { TlsContexts, type TlsFiles } from './contexts.js';
import { type Ready, TlsFront } from './front.js';
import { type ClusterTlsOptions, protocolSettings } from './settings.js';

export interface OpenTls {
  /** Makes an endpoint's end of TLS. */
  readonly front: (ready: Ready) => TlsFront;
  /** Of --auto-tls: what a client needs. */
  readonly credentials: ClientCredentials | undefined;
}

/** Reads or makes the certificates. `hosts` are those that are listened on. Rejects with StartError. */
export async function openTls(
  options: ClusterTlsOptions,
  hosts: readonly string[],
  directory: string,
  logger: Logger,
): Promise<OpenTls> {
  const protocol = protocolSettings(options);
  const { certFile = '', keyFile = '', trustedCaFile, clientCrlFile, clientCertAllowedHostname = [] } = options;
  const isGiven = certFile !== '' || keyFile !== '';
  if (isGiven && (certFile === '' || keyFile === '')) {
    throw new StartError(`KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`);
  }
  if (isGiven && options.autoTls === true) logger.warn('ignoring client auto TLS since certs given');
  const made = isGiven ? undefined : await autoTls(directory, hosts, options.selfSignedCertValidity ?? 1);
  const files: TlsFiles = {
    ...(made?.server ?? { certFile, keyFile }),
    trustedCaFile: trustedCaFile ?? (options.clientCertAuth === true ? made?.caFile : undefined),
    clientCrlFile,
    clientCertAuth: options.clientCertAuth === true || trustedCaFile !== undefined,
    allowedHostnames: clientCertAllowedHostname,
  };
  const contexts = new TlsContexts(files, protocol, logger);
  return { front: ready => new TlsFront(contexts, logger, ready), credentials: made?.client };
}
