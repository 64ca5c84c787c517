/**
 * The calls the generator makes, as prepared bytes.
 *
 * Every request of a kind has the same length, so the gRPC message is encoded once and only what differs is overwritten:
 * the digits of keys (`bench/0000000042`), a number in a value, a lease id.
 */
import { encode } from '../wire/schema.js';
import { writeUint31 } from './frames.js';

export const operations = ['put', 'range', 'serializable-range'] as const;
export type OperationName = (typeof operations)[number];

const keyDigits = 10;
const keyPrefix = 'bench/';
export const keyBytesDefault = keyPrefix.length + keyDigits;
const leaseFirst = 2 ** 21;

export interface RequestTemplate {
  readonly path: string;
  /** gRPC prefix and message. */
  readonly body: Buffer;
  /** Overwrites what differs between calls, in a copy of `body` at `bodyAt`. */
  readonly write: (target: Uint8Array, bodyAt: number, number: number) => void;
}

export interface RequestShape {
  /** Of a put's value; default 256. */
  readonly valueBytes?: number;
  /** At least `keyBytesDefault`. */
  readonly keyBytes?: number;
}

/** The key that carries `number`; `keyBytes` long. */
export function keyOf(number: number, keyBytes = keyBytesDefault): string {
  return keyPrefix.padEnd(keyBytes - keyDigits, '/') + String(number).padStart(keyDigits, '0');
}

/** The request for one operation. */
export function requestTemplate(
  operation: OperationName,
  { valueBytes = 256, keyBytes }: RequestShape,
): RequestTemplate {
  const key = Buffer.from(keyOf(0, keyBytes));
  const isPut = operation === 'put';
  const body = frameMessage(
    isPut
      ? encode('etcdserverpb.PutRequest', { key, value: incompressible(valueBytes) })
      : encode('etcdserverpb.RangeRequest', { key, serializable: operation === 'serializable-range' }),
  );
  const digitsAt = body.indexOf(key) + key.length - keyDigits;
  const write = (target: Uint8Array, bodyAt: number, number: number) => writeDigits(target, bodyAt + digitsAt, number);
  return { path: isPut ? '/etcdserverpb.KV/Put' : '/etcdserverpb.KV/Range', body, write };
}

/** The same range over and over. */
export function fixedRangeTemplate(request: {
  readonly key: string;
  readonly rangeEnd?: string | undefined;
  readonly limit: number;
  readonly isSerializable: boolean;
  readonly countOnly: boolean;
}): RequestTemplate {
  const message = encode('etcdserverpb.RangeRequest', {
    key: Buffer.from(request.key),
    range_end: Buffer.from(request.rangeEnd ?? ''),
    limit: BigInt(request.limit),
    serializable: request.isSerializable,
    count_only: request.countOnly,
  });
  return { path: '/etcdserverpb.KV/Range', body: frameMessage(message), write: () => undefined };
}

/** A transaction of `ops` puts or gets of keys that follow each other, going round `keys`. */
export function txnTemplate(
  kind: 'put' | 'get' | 'serializable-get',
  ops: number,
  keys: number,
  { valueBytes = 256, keyBytes }: RequestShape,
): RequestTemplate {
  const value = incompressible(valueBytes);
  const keyList = Array.from({ length: ops }, (_, at) => Buffer.from(keyOf(at, keyBytes)));
  const success = keyList.map(key =>
    kind === 'put'
      ? { request_put: { key, value } }
      : { request_range: { key, serializable: kind === 'serializable-get' } },
  );
  const body = frameMessage(encode('etcdserverpb.TxnRequest', { success }));
  const digitsAt: number[] = [];
  for (const key of keyList) digitsAt.push(body.indexOf(key, digitsAt.at(-1) ?? 0) + key.length - keyDigits);
  const write = (target: Uint8Array, bodyAt: number, number: number) => {
    for (let op = 0; op < ops; op += 1) writeDigits(target, bodyAt + digitsAt[op]!, (number + op) % keys);
  };
  return { path: '/etcdserverpb.KV/Txn', body, write };
}

/** Puts whose number goes round `keys` keys and stands in the first four bytes of the value too. */
export function numberedPutTemplate(valueBytes: number, keys: number): RequestTemplate {
  const { path, body } = requestTemplate('put', { valueBytes: Math.max(valueBytes, 4) });
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
  const message = encode('etcdserverpb.LeaseGrantRequest', { TTL: BigInt(ttlSeconds), ID: BigInt(leaseOf(0)) });
  const body = frameMessage(message);
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

/** gRPC's length prefix: not compressed. */
function frameMessage(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
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
