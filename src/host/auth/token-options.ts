/**
 * etcd's --auth-token: which tokens a login gives.
 *
 *     simple                                                              random letters, known to the members only
 *     jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m            signed, and read with the key alone
 *
 * The words of etcd's own errors stand in ours: `invalid auth options`, `invalid auth signature method`.
 */
import { StartError } from '../data-directory.js';
import { parseDurationMs } from '../duration.js';

/** The methods a JWT may be signed with, by their names in RFC 7518, and the kind of key each wants. */
export const signMethods = {
  RS256: { keyType: 'rsa' },
  RS384: { keyType: 'rsa' },
  RS512: { keyType: 'rsa' },
  PS256: { keyType: 'rsa' },
  PS384: { keyType: 'rsa' },
  PS512: { keyType: 'rsa' },
  ES256: { keyType: 'ec', curve: 'prime256v1' },
  ES384: { keyType: 'ec', curve: 'secp384r1' },
  ES512: { keyType: 'ec', curve: 'secp521r1' },
  EdDSA: { keyType: 'ed25519' },
  HS256: { keyType: 'secret' },
  HS384: { keyType: 'secret' },
  HS512: { keyType: 'secret' },
} as const;
export type SignMethod = keyof typeof signMethods;

export interface JwtOptions {
  readonly method: SignMethod;
  /** Files; undefined: not named. */
  readonly publicKeyPath: string | undefined;
  readonly privateKeyPath: string | undefined;
  readonly ttlMs: number;
}

/** Undefined: simple tokens. */
export type TokenOptions = JwtOptions | undefined;

/** etcd's. */
const ttlDefaultMs = 5 * 60 * 1000;
const known: ReadonlySet<string> = new Set(['sign-method', 'pub-key', 'priv-key', 'ttl']);

/** Reads `simple` or `jwt,name=value,…`; throws StartError. The files are not looked at. */
export function parseTokenOptions(text: string): TokenOptions {
  const [kind, ...pairs] = text.split(',');
  const options = new Map<string, string>();
  for (const pair of pairs) {
    const [name = '', value, more] = pair.split('=');
    if (value === undefined || more !== undefined) throw refusal(`invalid auth options: ${pair} is not name=value`);
    if (options.has(name)) throw refusal(`invalid auth options: ${name} is given twice`);
    options.set(name, value);
  }
  if (kind === 'simple') return undefined;
  if (kind !== 'jwt') throw refusal(`invalid auth options: ${kind} is neither simple nor jwt`);
  const unknown = [...options.keys()].find(name => !known.has(name));
  if (unknown !== undefined) {
    throw refusal(`invalid auth options: unknown JWT option ${unknown}; there are ${[...known].join(', ')}`);
  }
  return {
    method: methodOf(options.get('sign-method')),
    publicKeyPath: options.get('pub-key') || undefined,
    privateKeyPath: options.get('priv-key') || undefined,
    ttlMs: ttlOf(options.get('ttl')),
  };
}

/** A StartError about --auth-token. */
export function refusal(text: string): StartError {
  return new StartError(`--auth-token: ${text}`);
}

function methodOf(name: string | undefined): SignMethod {
  if (name !== undefined && Object.hasOwn(signMethods, name)) return name as SignMethod;
  const methods = Object.keys(signMethods).join(', ');
  const wrong = name === undefined ? 'sign-method is missing' : `sign-method ${name} is none`;
  throw refusal(`invalid auth signature method: ${wrong}; use one of ${methods}`);
}

function ttlOf(text: string | undefined): number {
  if (text === undefined || text === '') return ttlDefaultMs;
  const ttlMs = parseDurationMs(text);
  if (ttlMs === undefined || ttlMs < 1_000) {
    throw refusal(`invalid auth options: ttl is a duration of at least 1s, like 10m, not ${text}`);
  }
  return ttlMs;
}
