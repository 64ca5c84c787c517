/**
 * The calls the generator makes, as prepared bytes.
 *
 * Every request of a kind has the same length, so the gRPC message is encoded once and only the digits of the key are
 * overwritten: key `bench/0000000042`, value of the wanted size.
 */
import { encodeMessage } from '../../test/support/messages.js';

export const operations = ['put', 'range', 'serializable-range'] as const;
export type OperationName = (typeof operations)[number];

export const keyDigits = 10;
const keyPrefix = 'bench/';

export interface RequestTemplate {
  readonly path: string;
  /** gRPC prefix and message. */
  readonly body: Buffer;
  /** Where the key's digits start in `body`. */
  readonly digitsAt: number;
}

/** The key that carries `number`. */
export function keyOf(number: number): string {
  return keyPrefix + String(number).padStart(keyDigits, '0');
}

/** The request for one operation; `valueBytes` counts for puts. */
export function requestTemplate(operation: OperationName, valueBytes: number): RequestTemplate {
  const key = Buffer.from(keyOf(0));
  const message =
    operation === 'put'
      ? encodeMessage('PutRequest', { key, value: incompressible(valueBytes) })
      : encodeMessage('RangeRequest', { key, serializable: operation === 'serializable-range' });
  const body = Buffer.alloc(5 + message.length);
  body.writeUInt32BE(message.length, 1);
  body.set(message, 5);
  return {
    path: operation === 'put' ? '/etcdserverpb.KV/Put' : '/etcdserverpb.KV/Range',
    body,
    digitsAt: body.indexOf(keyPrefix) + keyPrefix.length,
  };
}

/** Writes a key's number into the digits at `position`. */
export function writeDigits(target: Uint8Array, position: number, number: number): void {
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
