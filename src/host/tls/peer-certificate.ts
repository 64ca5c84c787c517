/**
 * The certificate a client has shown: who it names, and whether etcd would take it.
 *
 * That it leads to a trusted authority, is in its time and may be used by clients has been verified in the handshake.
 * What is left is what etcd verifies itself: that it is not revoked, and that it is for one of the allowed host names.
 */
import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';

/** What etcd asks of a client's certificate beyond its chain. */
export interface ClientRules {
  /** Serial numbers (see `serialOf`) from --client-crl-file; undefined: nothing is revoked. */
  readonly revoked: ReadonlySet<string> | undefined;
  /** --client-cert-allowed-hostname; empty: any. */
  readonly allowedHostnames: readonly string[];
}

/**
 * The common name of a connection's verified client certificate: etcd's user, where authentication is on. Undefined for
 * connections without TLS, without a certificate that was asked for and verified, or whose certificate names nobody.
 */
export function peerCommonName(socket: Socket): string | undefined {
  if (!isTls(socket) || !socket.authorized) return undefined;
  // Several names are an array; Go, and so etcd, takes the last.
  const name: string | string[] | undefined = socket.getPeerCertificate().subject?.CN;
  const last = Array.isArray(name) ? name.at(-1) : name;
  return last === '' ? undefined : last;
}

/** Why a client with this verified certificate is not let in; undefined: it is. `now` is in milliseconds of the epoch. */
export function refusalOf(socket: TLSSocket, rules: ClientRules, now: number): string | undefined {
  if (!socket.authorized) return undefined; // no certificate was asked for
  const { allowedHostnames, revoked } = rules;
  const leaf = socket.getPeerCertificate(true);
  // A session that is taken up again is not verified again.
  if (Date.parse(leaf.valid_to) < now) return 'certificate has expired';
  const serial = revoked === undefined ? undefined : chainOf(leaf).find(one => revoked.has(one));
  if (serial !== undefined) return `transport: certificate serial ${serial} revoked`;
  if (allowedHostnames.length === 0) return undefined;
  const certificate = new X509Certificate(leaf.raw);
  const isAllowed = allowedHostnames.some(name => isFor(certificate, name));
  return isAllowed ? undefined : 'client certificate authentication failed';
}

/** Whom the client's certificate is for, as etcd's log says it. */
export function namesOf(socket: TLSSocket): { readonly 'ip-addresses': string[]; readonly 'dns-names': string[] } {
  const all = (socket.getPeerCertificate().subjectaltname ?? '').split(', ');
  const of = (kind: string): string[] => all.filter(one => one.startsWith(kind)).map(one => one.slice(kind.length));
  return { 'ip-addresses': of('IP Address:'), 'dns-names': of('DNS:') };
}

/** A serial number as text, whatever wrote it: hexadecimal, lower case, no zeros in front. */
export function serialOf(hex: string): string {
  return hex.toLowerCase().replace(/^0+(?=.)/, '');
}

function isTls(socket: Socket): socket is TLSSocket {
  return 'encrypted' in socket;
}

/** As Go's VerifyHostname: the alternative names alone count, and a wildcard stands for one whole label. */
export function isFor(certificate: X509Certificate, name: string): boolean {
  const address = name.replace(/^\[|\]$/g, '');
  if (isIP(address) !== 0) return certificate.checkIP(address) !== undefined;
  return certificate.checkHost(name, { subject: 'never', partialWildcards: false }) !== undefined;
}

/** The serial numbers of the certificates that were shown, and of the authority they lead to. */
function chainOf(leaf: DetailedPeerCertificate): string[] {
  const serials = new Set<string>();
  for (let one: DetailedPeerCertificate | undefined = leaf; one?.serialNumber !== undefined; ) {
    const serial = serialOf(one.serialNumber);
    serials.add(serial);
    const issuer: DetailedPeerCertificate | undefined = one.issuerCertificate;
    one = issuer === one ? undefined : issuer;
  }
  return [...serials];
}
