/**
 * What the host and a member tell each other while a client logs in. The host compares passwords, the member knows them:
 *
 *     AuthPassword   user name (UTF-8)                        ─> JSON: PasswordFacts, of a confirmed read
 *     Authenticate   f64 (LE) revision | InternalAuthenticateRequest ─> f64 (LE) auth revision | AuthenticateResponse
 *
 * The second goes through the log: every member then knows the token. `revision` is that of the facts: if the users have
 * changed since the password was compared, the answer is ErrAuthOldRevision and the host begins again, as etcd does.
 */
import { decode, encode } from '../wire/schema.js';

/** What a member knows of a user's password. */
export interface PasswordFacts {
  /** Whether auth is on. */
  readonly enabled: boolean;
  /** The bcrypt text; empty when there is no such user or it has none. */
  readonly hash: string;
  /** The user was created without a password and cannot log in with one. */
  readonly noPassword: boolean;
  /** The auth revision that this is true at. */
  readonly revision: number;
}

const REVISION_BYTES = 8;

export function encodePasswordFacts(facts: PasswordFacts): Uint8Array {
  return Buffer.from(JSON.stringify(facts), 'utf8');
}

/** The answer to AuthPassword. */
export function decodePasswordFacts(reply: Uint8Array): PasswordFacts {
  return JSON.parse(Buffer.from(reply).toString('utf8')) as PasswordFacts;
}

/** The payload of Authenticate: the password was right at `revision`. `tokenPrefix` is empty without simple tokens. */
export function encodeAuthenticate(revision: number, name: string, tokenPrefix: string): Uint8Array {
  const request = encode('etcdserverpb.InternalAuthenticateRequest', { name, simple_token: tokenPrefix });
  return withRevision(revision, request);
}

/** A revision and the message after it: the payload of Authenticate and its answer. */
export function splitRevision(bytes: Uint8Array): { revision: number; message: Uint8Array } {
  const revision = new DataView(bytes.buffer, bytes.byteOffset, REVISION_BYTES).getFloat64(0, true);
  return { revision, message: bytes.subarray(REVISION_BYTES) };
}

/** See splitRevision. */
export function withRevision(revision: number, message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(REVISION_BYTES + message.length);
  new DataView(bytes.buffer).setFloat64(0, revision, true);
  bytes.set(message, REVISION_BYTES);
  return bytes;
}

/** The answer to Authenticate: the auth revision a signed token is to carry, and etcd's response. */
export function decodeAuthenticated(reply: Uint8Array) {
  const { revision, message } = splitRevision(reply);
  return { revision, response: decode('etcdserverpb.AuthenticateResponse', message) };
}
