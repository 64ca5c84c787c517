/**
 * Signed tokens: made at a login, and read without asking anybody.
 *
 *     { alg, typ } . { username, revision, exp } . signature        revision: the auth store's at the login
 *
 * Only the configured method counts, whatever a token's own header says. A token that is not what it should be, or whose
 * time is over, is no token (undefined): what becomes of its caller is the member's to say.
 *
 * Loaded only when the cluster was told to use such tokens.
 */
import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { jwtVerify, SignJWT } from 'jose';
import type { StartError } from '../data-directory.js';
import { type JwtOptions, refusal, type SignMethod, signMethods } from './token-options.js';

/** What a valid token says. */
export interface VerifiedToken {
  readonly userName: string;
  /** The auth store's revision when it was signed. */
  readonly revision: number;
  /** Until when it counts, by the wall clock; Infinity: for ever. */
  readonly validUntilMs: number;
}

/** Smaller ones are refused by the library that signs. */
const rsaBitsMin = 2_048;

export class JwtTokens {
  readonly #method: SignMethod;
  readonly #ttlMs: number;
  /** Undefined: tokens can be read, and come from elsewhere. */
  readonly #signingKey: KeyObject | undefined;
  readonly #readingKey: KeyObject;

  /** Reads the keys; throws StartError when they are missing or not for the method. */
  constructor({ method, publicKeyPath, privateKeyPath, ttlMs }: JwtOptions) {
    this.#method = method;
    this.#ttlMs = ttlMs;
    const isSecret = signMethods[method].keyType === 'secret';
    const given = privateKeyPath === undefined ? undefined : readKey(privateKeyPath);
    const open = publicKeyPath === undefined || isSecret ? undefined : readKey(publicKeyPath);
    if (given === undefined && open === undefined) {
      throw refusal(`missing key data: ${method} needs ${isSecret ? 'priv-key' : 'priv-key or pub-key'}`);
    }
    if (isSecret) {
      this.#signingKey = createSecretKey(given as Buffer);
      this.#readingKey = this.#signingKey;
      return;
    }
    this.#signingKey = given && parsed(given, privateKeyPath as string, createPrivateKey, method);
    const derived = this.#signingKey && createPublicKey(this.#signingKey);
    const published = open && parsed(open, publicKeyPath as string, createPublicKey, method);
    if (derived !== undefined && published !== undefined && !derived.equals(published)) {
      throw refusal("public and private keys don't match");
    }
    this.#readingKey = (derived ?? published) as KeyObject;
  }

  /** Whether there is a key to sign with. */
  get canSign(): boolean {
    return this.#signingKey !== undefined;
  }

  /** A token for a user who has just logged in. */
  sign(userName: string, revision: number): Promise<string> {
    const expiresSeconds = Math.floor((Date.now() + this.#ttlMs) / 1_000);
    return new SignJWT({ username: userName, revision })
      .setProtectedHeader({ alg: this.#method, typ: 'JWT' })
      .setExpirationTime(expiresSeconds)
      .sign(this.#signingKey as KeyObject);
  }

  /** What a token says; undefined when it is none, was not signed with the key, or is over. */
  async verify(token: string): Promise<VerifiedToken | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#readingKey, { algorithms: [this.#method] });
      const { username, revision, exp } = payload;
      if (typeof username !== 'string' || typeof revision !== 'number') return undefined;
      if (!Number.isSafeInteger(Math.trunc(revision)) || revision < 0) return undefined;
      const validUntilMs = exp === undefined ? Number.POSITIVE_INFINITY : exp * 1_000;
      return { userName: username, revision: Math.trunc(revision), validUntilMs };
    } catch {
      return undefined;
    }
  }
}

function readKey(path: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw refusal(`invalid auth options: cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
  if (bytes.length === 0) throw refusal(`missing key data: ${path} is empty`);
  return bytes;
}

function parsed(pem: Buffer, path: string, parse: (pem: Buffer) => KeyObject, method: SignMethod): KeyObject {
  const wanted = signMethods[method];
  let key: KeyObject;
  try {
    key = parse(pem);
  } catch {
    throw notFor(method, path);
  }
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== wanted.keyType) throw notFor(method, path);
  if ('curve' in wanted && namedCurve !== wanted.curve) throw notFor(method, path);
  if (wanted.keyType === 'rsa' && modulusLength < rsaBitsMin) {
    throw refusal(`the RSA key in ${path} has ${modulusLength} bits; use one of at least ${rsaBitsMin}`);
  }
  return key;
}

function notFor(method: SignMethod, path: string): StartError {
  const wanted = signMethods[method];
  const kind = 'curve' in wanted ? `${wanted.keyType} key on the curve ${wanted.curve}` : `${wanted.keyType} key`;
  return refusal(`${path} holds no ${kind} in PEM, which ${method} needs`);
}
