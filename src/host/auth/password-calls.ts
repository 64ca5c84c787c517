/**
 * The calls that carry a password, in which the host has a part: the member knows who has which, the tasks hash and
 * compare, and no password goes further than to them.
 *
 *     Authenticate   member: facts of the user -> task: compare -> member: a token, through the log
 *                    the users have changed meanwhile: once more from the beginning
 *     UserAdd, UserChangePassword   task: hash -> the member's call, with the hash in the password's place
 */
import { randomInt } from 'node:crypto';
import { utf8Encode } from '../../base/bytes.js';
import type { CallOptions } from '../../client/channel.js';
import { EtcdError } from '../../client/channel.js';
import { tableError } from '../../client/errors.js';
import { decodeAuthenticated, decodePasswordFacts, encodeAuthenticate } from '../../transport/authentication.js';
import { EtcdErrorCode, etcdError } from '../../wire/errors.js';
import { Method } from '../../wire/methods.js';
import { ProtoError } from '../../wire/proto.js';
import { decode, encode } from '../../wire/schema.js';
import { type AskedPort, type Asker, askMember, failure, serverAsks } from '../member-call.js';
import type { HostAuth } from './host-auth.js';
import { comparePassword, hashPassword } from './passwords.js';

/** Anybody may try a name of a megabyte. */
const loggedNameLengthMax = 256;

type PasswordMethod = typeof Method.Authenticate | typeof Method.UserAdd | typeof Method.UserChangePassword;

export function isPasswordMethod(method: Method): method is PasswordMethod {
  return method === Method.Authenticate || method === Method.UserAdd || method === Method.UserChangePassword;
}

/** Answers such a call with the encoded response. Rejects with EtcdError or the signal's reason. */
export async function passwordCall(
  auth: HostAuth,
  port: AskedPort,
  method: PasswordMethod,
  request: Uint8Array,
  options: CallOptions,
  asker: Asker,
): Promise<Uint8Array> {
  try {
    if (method === Method.Authenticate) return await authenticate(auth, port, request, options, asker);
    const hashed = await withHash(auth, method, request, options.signal);
    return await askMember(port, method, hashed, options, asker);
  } catch (error) {
    throw error instanceof ProtoError ? failure(EtcdErrorCode.Undecodable, error.message) : error;
  }
}

async function authenticate(
  { tokens, log }: HostAuth,
  port: AskedPort,
  request: Uint8Array,
  options: CallOptions,
  { requireLeader = false }: Asker,
): Promise<Uint8Array> {
  const { name, password } = decode('etcdserverpb.AuthenticateRequest', request);
  const asker: Asker = { ...serverAsks, requireLeader };
  for (;;) {
    const facts = decodePasswordFacts(await askMember(port, Method.AuthPassword, utf8Encode(name), options, asker));
    if (!facts.enabled) throw tableError(EtcdErrorCode.AuthNotEnabled);
    if (facts.noPassword) throw refused(log, name, EtcdErrorCode.NoPasswordUser);
    const isRight = facts.hash !== '' && (await comparePassword(password, facts.hash, options.signal));
    if (!isRight) throw refused(log, name, EtcdErrorCode.AuthFailed);
    if (tokens?.canSign === false) throw tableError(EtcdErrorCode.VerifyOnlyKey);
    const prefix = tokens === undefined ? tokenPrefix() : '';
    try {
      const login = encodeAuthenticate(facts.revision, name, prefix);
      const reply = await askMember(port, Method.Authenticate, login, options, asker);
      const { revision, response } = decodeAuthenticated(reply);
      const token = tokens === undefined ? response.token : await tokens.sign(name, revision);
      return encode('etcdserverpb.AuthenticateResponse', { ...response, token });
    } catch (error) {
      if (!isOldRevision(error)) throw error;
    }
  }
}

/** The error for whoever tried to log in, and etcd's words and fields about it in the log. */
function refused(log: HostAuth['log'], userName: string, code: EtcdErrorCode): EtcdError {
  const error = tableError(code);
  const user = userName.slice(0, loggedNameLengthMax);
  log.warn({ user, error: error.message.replace('etcdserver:', 'auth:') }, 'invalid authentication was requested');
  return error;
}

/** The users have changed since the password was compared. */
function isOldRevision(error: unknown): boolean {
  return error instanceof EtcdError && error.message === etcdError(EtcdErrorCode.AuthOldRevision).message;
}

/** The request with the password's hash; a user without a password has neither. */
async function withHash(
  { bcryptCost }: HostAuth,
  method: PasswordMethod,
  request: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  if (method === Method.UserAdd) {
    const { name, password, options } = decode('etcdserverpb.AuthUserAddRequest', request);
    const hashedPassword = options?.no_password === true ? '' : await hashPassword(password, bcryptCost, signal);
    return encode('etcdserverpb.AuthUserAddRequest', { name, ...(options && { options }), hashedPassword });
  }
  const { name, password, hashedPassword } = decode('etcdserverpb.AuthUserChangePasswordRequest', request);
  // As in etcd, which lets a client's own hash pass when there is no password; the member refuses a change to nothing.
  const hash = password === '' ? hashedPassword : await hashPassword(password, bcryptCost, signal);
  return encode('etcdserverpb.AuthUserChangePasswordRequest', { name, hashedPassword: hash });
}

const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
const tokenPrefixLetters = 16;

/** What makes a simple token one that nobody guesses. */
function tokenPrefix(): string {
  return Array.from({ length: tokenPrefixLetters }, () => letters[randomInt(letters.length)]).join('');
}
