/**
 * Who makes a call: a token in its metadata, or else the client's certificate, as the member is told (transport/caller.ts).
 *
 *     call -> metadata.memo            the same head again: nothing is looked for
 *          -> text of the token -> map  a token seen before: one lookup
 *          -> a signed token             verified once, then remembered until its time is over
 *
 * What is not a valid signed token goes to the member as it is, which knows it or refuses it. Nothing is decided here.
 */
import { encodeClaimsCaller, encodeCommonNameCaller, encodeTokenCaller } from '../../transport/caller.js';
import type { Call, Metadata } from '../grpc/call.js';
import type { HostAuth } from './host-auth.js';
import type { JwtTokens } from './jwt.js';

/** An identity as it goes over the ring; undefined: none. */
export type EncodedCaller = Uint8Array | undefined;

interface Known {
  readonly caller: EncodedCaller;
  /** By the wall clock. */
  readonly validUntilMs: number;
}

const forEver = Number.POSITIVE_INFINITY;
const nobody: Known = { caller: undefined, validUntilMs: forEver };
const bearer = 'Bearer ';

/** Tokens and certificates an endpoint remembers; the one that was asked for least recently goes first. */
export const callersMax = 1_024;

/** The callers of one endpoint. */
export class Callers {
  readonly #tokens: JwtTokens | undefined;
  readonly #commonNames: boolean;
  readonly #known = new Map<string, Known>();

  /**
   * `tokens` reads signed tokens; undefined: tokens are simple ones. `commonNames`: who shows a certificate is the user
   * it names (etcd's --client-cert-auth; a certificate that is asked for without it opens the door and no more).
   */
  constructor({ tokens, commonNames }: Pick<HostAuth, 'tokens' | 'commonNames'>) {
    this.#tokens = tokens;
    this.#commonNames = commonNames;
  }

  /** The call's identity; a promise while a signed token is verified, which never rejects. */
  of({ metadata, peer }: Call): EncodedCaller | Promise<EncodedCaller> {
    const known = metadata.memo as Known | undefined;
    if (known !== undefined && isValid(known)) return known.caller;
    const token = tokenOf(metadata);
    if (token !== undefined) return this.#ofToken(token, metadata);
    const counts = this.#commonNames && metadata.get('grpcgateway-accept') === undefined;
    const name = counts ? peer.commonName : undefined;
    const made = name === undefined ? nobody : this.#ofCommonName(name);
    metadata.memo = made;
    return made.caller;
  }

  #ofToken(token: string, metadata: Metadata): EncodedCaller | Promise<EncodedCaller> {
    const key = `t${token}`;
    const known = this.#find(key);
    if (known !== undefined) {
      metadata.memo = known;
      return known.caller;
    }
    const asItIs: Known = { caller: encodeTokenCaller(token), validUntilMs: forEver };
    if (this.#tokens === undefined) {
      metadata.memo = this.#remember(key, asItIs);
      return asItIs.caller;
    }
    return this.#verified(this.#tokens, token, key, metadata, asItIs);
  }

  async #verified(
    tokens: JwtTokens,
    token: string,
    key: string,
    metadata: Metadata,
    asItIs: Known,
  ): Promise<EncodedCaller> {
    const verified = await tokens.verify(token);
    if (verified === undefined) return asItIs.caller;
    const { userName, revision, validUntilMs } = verified;
    const known: Known = { caller: encodeClaimsCaller(userName, revision), validUntilMs };
    metadata.memo = this.#remember(key, known);
    return known.caller;
  }

  #ofCommonName(name: string): Known {
    const key = `n${name}`;
    return this.#find(key) ?? this.#remember(key, { caller: encodeCommonNameCaller(name), validUntilMs: forEver });
  }

  #find(key: string): Known | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    this.#known.delete(key);
    if (!isValid(known)) return undefined;
    this.#known.set(key, known);
    return known;
  }

  #remember(key: string, known: Known): Known {
    this.#known.set(key, known);
    if (this.#known.size > callersMax) this.#known.delete(this.#known.keys().next().value as string);
    return known;
  }
}

/** The clock is looked at only for what ends. */
function isValid({ validUntilMs }: Known): boolean {
  return validUntilMs === forEver || Date.now() < validUntilMs;
}

/** The token a call carries; an empty one is one. */
function tokenOf(metadata: Metadata): string | undefined {
  const token = metadata.get('token') ?? metadata.get('authorization');
  return token?.startsWith(bearer) ? token.slice(bearer.length) : token;
}
