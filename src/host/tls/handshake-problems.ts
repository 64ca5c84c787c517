/**
 * Why a handshake came to nothing, in the words of etcd's log (Go's crypto/tls): OpenSSL has other words for the same
 * things, and whoever searches a log searches for etcd's.
 */

/** The client went before it had said who it is: a port probe, or one that does not like the server's certificate. */
export const clientGone = 'EOF';

const unverified = 'tls: failed to verify certificate: x509: ';
const unknownAuthority = `${unverified}certificate signed by unknown authority`;
const outOfTime = `${unverified}certificate has expired or is not yet valid`;

/** By the code of the verification (X509_V_ERR_…). */
const certificateTexts: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: outOfTime,
  CERT_NOT_YET_VALID: outOfTime,
  INVALID_PURPOSE: `${unverified}certificate specifies an incompatible key usage`,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
};

const noTls = 'tls: first record does not look like a TLS handshake';

/** By the code of the error. */
const errorTexts: Readonly<Record<string, string>> = {
  ECONNRESET: clientGone,
  ERR_SSL_HTTP_REQUEST: noTls,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'tls: client offered only unsupported versions',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "tls: client didn't provide a certificate",
};

/** `verification` is the socket's `authorizationError`: a code, if it was the client's certificate. */
export function handshakeProblem(error: Error, verification: unknown): string {
  if (typeof verification === 'string') return certificateTexts[verification] ?? `${unverified}${verification}`;
  const { code = '', reason = error.message } = error as NodeJS.ErrnoException & { readonly reason?: string };
  const alert = /alert (.*)$/.exec(reason)?.[1];
  return errorTexts[code] ?? (alert === undefined ? reason : `remote error: tls: ${alert}`);
}
