/**
 * The KV calls' options, and their requests encoded.
 */
import { SortOrder, SortTarget } from '../wire/kv.js';
import { ProtoWriter } from '../wire/proto.js';
import type { CallOptions } from './channel.js';
import { type Bytes, boundsOf, type Range } from './ranges.js';

/** A lease, or its id. */
export type LeaseRef = bigint | { readonly id: bigint };

export function leaseIdOf(lease: LeaseRef): bigint {
  return typeof lease === 'bigint' ? lease : lease.id;
}

/** How a key is put; the same alone and in a transaction. */
export interface PutSettings {
  /** The lease to hang the key on; without it the key hangs on none. */
  readonly lease?: LeaseRef;
  /** Answer what was there before. */
  readonly previous?: boolean;
  /** Keep the present value (pass an empty one); the key must exist. */
  readonly ignoreValue?: boolean;
  /** Keep the present lease; the key must exist. */
  readonly ignoreLease?: boolean;
}

/** How one key is read. */
export interface GetSettings {
  /** Read the store as it was at this revision; default: now. */
  readonly revision?: number;
  /** Answer from the member asked, without a round to the quorum: faster, possibly stale. */
  readonly serializable?: boolean;
}

/** How a range is read. */
export interface RangeSettings extends GetSettings {
  readonly limit?: number;
  readonly sortBy?: 'key' | 'version' | 'createRevision' | 'modRevision' | 'value';
  readonly descending?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface DeleteSettings {
  /** Answer what was deleted. */
  readonly previous?: boolean;
}

export interface PutOptions extends PutSettings, CallOptions {}
export interface GetOptions extends GetSettings, CallOptions {}
export interface RangeOptions extends RangeSettings, CallOptions {}
export interface DeleteOptions extends DeleteSettings, CallOptions {}

const SORT_TARGETS = {
  key: SortTarget.Key,
  version: SortTarget.Version,
  createRevision: SortTarget.Create,
  modRevision: SortTarget.Mod,
  value: SortTarget.Value,
} as const;

const NONE = {};

export function encodePut(key: Bytes, value: Bytes, settings: PutSettings | undefined): Uint8Array {
  writePut(scratch.reset(), key, value, settings);
  return scratch.finish();
}

export function encodeRange(range: Range, settings: RangeSettings | undefined): Uint8Array {
  writeRange(scratch.reset(), range, settings);
  return scratch.finish();
}

export function encodeDelete(range: Range, settings: DeleteSettings | undefined): Uint8Array {
  writeDelete(scratch.reset(), range, settings);
  return scratch.finish();
}

export function writePut(writer: ProtoWriter, key: Bytes, value: Bytes, settings: PutSettings | undefined): void {
  writeBytes(writer, 1, key);
  writeBytes(writer, 2, value);
  if (settings === undefined) return;
  writer.bigint64Field(3, leaseIdOf(settings.lease ?? 0n));
  writer.boolField(4, settings.previous ?? false);
  writer.boolField(5, settings.ignoreValue ?? false);
  writer.boolField(6, settings.ignoreLease ?? false);
}

export function writeRange(writer: ProtoWriter, range: Range, settings: RangeSettings = NONE): void {
  const { key, rangeEnd } = boundsOf(range);
  const isSorted = settings.sortBy !== undefined || settings.descending !== undefined;
  writer.bytesField(1, key);
  writer.bytesField(2, rangeEnd);
  writer.int64Field(3, settings.limit ?? 0);
  writer.int64Field(4, settings.revision ?? 0);
  if (isSorted) writer.int64Field(5, settings.descending === true ? SortOrder.Descend : SortOrder.Ascend);
  writer.int64Field(6, SORT_TARGETS[settings.sortBy ?? 'key']);
  writer.boolField(7, settings.serializable ?? false);
  writer.boolField(8, settings.keysOnly ?? false);
  writer.boolField(9, settings.countOnly ?? false);
  writer.int64Field(10, settings.minModRevision ?? 0);
  writer.int64Field(11, settings.maxModRevision ?? 0);
  writer.int64Field(12, settings.minCreateRevision ?? 0);
  writer.int64Field(13, settings.maxCreateRevision ?? 0);
}

export function writeDelete(writer: ProtoWriter, range: Range, settings: DeleteSettings = NONE): void {
  const { key, rangeEnd } = boundsOf(range);
  writer.bytesField(1, key);
  writer.bytesField(2, rangeEnd);
  writer.boolField(3, settings.previous ?? false);
}

function writeBytes(writer: ProtoWriter, field: number, text: Bytes): void {
  if (typeof text === 'string') writer.stringField(field, text);
  else writer.bytesField(field, text);
}

const scratch = new ProtoWriter();
