/**
 * The calls the generator makes, as prepared bytes.
 *
 * Every request of a kind has the same length, so the gRPC message is encoded once and only what differs is overwritten:
 * the digits of a key (`bench/0000000042`), a number in a value, a lease id.
 */
import { frameMessage } from '../../test/support/grpc-client.js';
import { encodeMessage } from '../../test/support/messages.js';
import { writeUint31 } from './frames.js';

export const operations = ['put', 'range', 'serializable-range'] as const;
export type OperationName = (typeof operations)[number];

const keyDigits = 10;
const keyPrefix = 'bench/';
const leaseFirst = 2 ** 21;

export interface RequestTemplate {
  readonly path: string;
  /** gRPC prefix and message. */
  readonly body: Buffer;
  /** Overwrites what differs between calls, in a copy of `body` at `bodyAt`. */
  readonly write: (target: Uint8Array, bodyAt: number, number: number) => void;
}

/** The key that carries `number`. */
export function keyOf(number: number): string {
  return keyPrefix + String(number).padStart(keyDigits, '0');
}

/** The request for one operation; `valueBytes` counts for puts. */
export function requestTemplate(operation: OperationName, valueBytes: number): RequestTemplate {
  const key = Buffer.from(keyOf(0));
  const put = operation === 'put';
  const message = put
    ? encodeMessage('PutRequest', { key, value: incompressible(valueBytes) })
    : encodeMessage('RangeRequest', { key, serializable: operation === 'serializable-range' });
  const body = frameMessage(message);
  const digitsAt = body.indexOf(keyPrefix) + keyPrefix.length;
  const write = (target: Uint8Array, bodyAt: number, number: number) => writeDigits(target, bodyAt + digitsAt, number);
  return { path: put ? '/etcdserverpb.KV/Put' : '/etcdserverpb.KV/Range', body, write };
}

/** Puts whose number goes round `keys` keys and stands in the first four bytes of the value too. */
export function numberedPutTemplate(valueBytes: number, keys: number): RequestTemplate {
  const { path, body } = requestTemplate('put', Math.max(valueBytes, 4));
  const digitsAt = body.indexOf(keyPrefix) + keyPrefix.length;
  const valueAt = body.length - Math.max(valueBytes, 4);
  const write = (target: Uint8Array, bodyAt: number, number: number) => {
    writeDigits(target, bodyAt + digitsAt, number % keys);
    writeUint31(target, bodyAt + valueAt, number);
  };
  return { path, body, write };
}

/** The lease of a number: all of them have a varint of four bytes. */
export function leaseOf(number: number): number {
  return leaseFirst + number;
}

/** Grants of leases with ids of the client's choice. */
export function grantTemplate(ttlSeconds: number): RequestTemplate {
  const body = frameMessage(encodeMessage('LeaseGrantRequest', { TTL: BigInt(ttlSeconds), ID: BigInt(leaseOf(0)) }));
  const write = (target: Uint8Array, bodyAt: number, number: number) =>
    writeVarint4(target, bodyAt + body.length - 4, leaseOf(number));
  return { path: '/etcdserverpb.Lease/LeaseGrant', body, write };
}

/** Writes a number from 2^21 on, below 2^28, as a varint. */
export function writeVarint4(target: Uint8Array, position: number, number: number): void {
  target[position] = (number & 0x7f) | 0x80;
  target[position + 1] = ((number >>> 7) & 0x7f) | 0x80;
  target[position + 2] = ((number >>> 14) & 0x7f) | 0x80;
  target[position + 3] = number >>> 21;
}

function writeDigits(target: Uint8Array, position: number, number: number): void {
  let rest = number;
  for (let i = position + keyDigits - 1; i >= position; i--) {
    const tenth = Math.floor(rest / 10);
    target[i] = 0x30 + rest - tenth * 10;
    rest = tenth;
  }
}

/** A value that does not shrink when something on the way compresses it, the same in every run. */
function incompressible(bytes: number): Buffer {
  const value = Buffer.alloc(bytes);
  let state = 0x2545f491;
  for (let i = 0; i < bytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    value[i] = state & 0xff;
  }
  return value;
}
