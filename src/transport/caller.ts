/**
 * Who makes a call, as the host knows it: said on the ring with the Open of the call, decided about by the member.
 *
 *     Open with FLAG_CALLER:  u16 length (LE) | u8 kind | what the kind says      | the request
 *                             token:      the text as the client sent it            (simple, or a JWT that is not valid)
 *                             claims:     f64 (LE) auth revision | user name        (a JWT that was verified)
 *                             commonName: the CN of a verified client certificate
 *
 * The host makes the head once per token or certificate and sends it before every request of that caller; a call
 * without any identity has no head and no flag. All texts are UTF-8.
 */
import { assert } from '../base/assert.js';

export const CallerKind = { none: 0, token: 1, claims: 2, commonName: 3 } as const;
export type CallerKind = (typeof CallerKind)[keyof typeof CallerKind];

/** A caller as the member sees it. */
export interface Caller {
  /** `server`: the server's own question, which needs no right. */
  readonly kind: 'token' | 'claims' | 'commonName' | 'server';
  /** The token, or the name of the user. */
  readonly text: string;
  /** The auth revision that was current when the claims were signed; 0 for other kinds. */
  readonly revision: number;
}

/** Bytes of the length before a caller. */
const LENGTH_BYTES = 2;
const REVISION_BYTES = 8;
/** A longer token than the length can say is no token that anybody gave out: what is left of it is unknown as well. */
const CALLER_BYTES_MAX = 0xffff;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The head of a caller with this token. */
export function encodeTokenCaller(token: string): Uint8Array {
  return encodeCaller(CallerKind.token, encoder.encode(token));
}

/** The head of a caller whose JWT says so and was verified. `revision`: the auth revision in it. */
export function encodeClaimsCaller(userName: string, revision: number): Uint8Array {
  const name = encoder.encode(userName);
  const text = new Uint8Array(REVISION_BYTES + name.length);
  new DataView(text.buffer).setFloat64(0, revision, true);
  text.set(name, REVISION_BYTES);
  return encodeCaller(CallerKind.claims, text);
}

/** The head of a caller with a verified client certificate of this common name. */
export function encodeCommonNameCaller(commonName: string): Uint8Array {
  return encodeCaller(CallerKind.commonName, encoder.encode(commonName));
}

function encodeCaller(kind: CallerKind, text: Uint8Array): Uint8Array {
  const kept = text.subarray(0, CALLER_BYTES_MAX - 1);
  const head = new Uint8Array(LENGTH_BYTES + 1 + kept.length);
  new DataView(head.buffer).setUint16(0, 1 + kept.length, true);
  head[LENGTH_BYTES] = kind;
  head.set(kept, LENGTH_BYTES + 1);
  return head;
}

/** Bytes of `payload` that belong to its caller: what follows is the request. */
export function callerBytes(payload: Uint8Array): number {
  assert(payload.length > LENGTH_BYTES, 'a payload with a caller begins with its length', { bytes: payload.length });
  return LENGTH_BYTES + (payload[0] as number) + 256 * (payload[1] as number);
}

/** The caller at the beginning of `payload`, which may be shared memory. */
export function decodeCaller(payload: Uint8Array): Caller {
  const kind = payload[LENGTH_BYTES];
  // A copy: a text is not decoded from shared memory.
  const text = payload.slice(LENGTH_BYTES + 1, callerBytes(payload));
  if (kind === CallerKind.token) return { kind: 'token', text: decoder.decode(text), revision: 0 };
  if (kind === CallerKind.commonName) return { kind: 'commonName', text: decoder.decode(text), revision: 0 };
  assert(kind === CallerKind.claims && text.length >= REVISION_BYTES, 'a caller is of a known kind', { kind });
  const revision = new DataView(text.buffer, text.byteOffset).getFloat64(0, true);
  return { kind: 'claims', text: decoder.decode(text.subarray(REVISION_BYTES)), revision };
}

/** The server itself. */
export const SERVER_CALLER: Caller = { kind: 'server', text: '', revision: 0 };
