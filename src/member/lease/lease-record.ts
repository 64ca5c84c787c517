/**
 * A lease as the store keeps it: etcd's bucket `lease`, key and value byte for byte.
 *
 *   key    id, 8 bytes, most significant first; a negative id as its two's complement
 *   value  leasepb.Lease: [08 id] [10 ttl] [18 remaining ttl], zero fields left out; seconds
 *
 * What hangs on a lease is not stored here: every record of a key names its lease. Nor is the expiry, which only the
 * leader's clock knows.
 */
import { writeBigUint64BE } from '../../base/bytes.js';
import { ProtoReader, ProtoWriter } from '../../wire/proto.js';

export interface LeaseRecord {
  readonly id: bigint;
  readonly ttlSeconds: number;
  /** What was left at the last checkpoint; 0 without one. */
  readonly remainingSeconds: number;
}

/** The key of a lease's record; the caller's. */
export function leaseKey(id: bigint): Uint8Array {
  const key = new Uint8Array(8);
  writeBigUint64BE(key, 0, id);
  return key;
}

/** The value of a lease's record. */
export function encodeLeaseRecord({ id, ttlSeconds, remainingSeconds }: LeaseRecord): Uint8Array {
  const writer = scratch.reset();
  writer.bigint64Field(1, id);
  writer.int64Field(2, ttlSeconds);
  writer.int64Field(3, remainingSeconds);
  return writer.finish();
}

const scratch = new ProtoWriter(1024);
const RECORD_FIELDS = ['', 'ID', 'TTL', 'RemainingTTL'];

/** Reads the value of a lease's record. */
export function decodeLeaseRecord(value: Uint8Array): LeaseRecord {
  let id = 0n;
  let ttlSeconds = 0;
  let remainingSeconds = 0;
  const reader = new ProtoReader(value);
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) id = reader.bigint64();
    else if (tag === 0x10) ttlSeconds = reader.int64();
    else if (tag === 0x18) remainingSeconds = reader.int64();
    else reader.skipUnknown(tag, RECORD_FIELDS);
  }
  return { id, ttlSeconds, remainingSeconds };
}
