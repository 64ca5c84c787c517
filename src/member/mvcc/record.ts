/**
 * Records as the store keeps them: a marshalled KeyValue, for a tombstone one with nothing but the key.
 *
 *   0a len key  [10 create] [18 mod] [20 version] [2a len value] [30 lease]
 */
import { EMPTY_BYTES } from '../../base/bytes.js';
import { decodeKeyValue, encodeKeyValue } from '../../wire/kv.js';
import { ProtoWriter } from '../../wire/proto.js';

const KEY_TAG = 0x0a;

/**
 * The key of a record, as a view. etcd always writes it first; a record of no bytes at all (etcdutl's bumped revision)
 * counts as one of the empty key.
 */
export function recordKey(record: Uint8Array): Uint8Array {
  const length = record[1];
  if (record[0] === KEY_TAG && length !== undefined && length < 0x80) return record.subarray(2, 2 + length);
  return record.length === 0 ? EMPTY_BYTES : decodeKeyValue(record).key;
}

/** The record of a deletion. */
export function tombstoneRecord(key: Uint8Array): Uint8Array {
  return encodeKeyValue({ key, createRevision: 0, modRevision: 0, version: 0, value: EMPTY_BYTES, lease: 0n });
}

/** A copy that stays valid when the store is used again. */
export function copyRecord(record: Uint8Array): Uint8Array {
  copies.reset().raw(record);
  return copies.finish();
}

/** Slabs for the copies: an array of its own for each would cost ten times as much. */
const copies = new ProtoWriter();
