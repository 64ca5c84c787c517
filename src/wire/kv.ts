/**
 * The hot messages of the KV service, hand-written: requests, replies and mvccpb.KeyValue.
 *
 * Everything is proto3: fields ascending, zero values left out, the last of repeated singular fields wins. Unknown
 * fields are skipped. Byte fields of decoded messages are views of the input. Integers are numbers (see proto.ts) except
 * lease ids, which are signed 64-bit bigints.
 *
 * The encoding of KeyValue is what the store keeps and what HashKV hashes: it must be etcd's, bit for bit.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { ResponseHeaderTemplate } from './header.js';
import { ProtoReader, ProtoWriter } from './proto.js';

/** `mvccpb.KeyValue` */
export interface KeyValue {
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: Uint8Array;
  /** 0n: none */
  readonly lease: bigint;
}

/** `etcdserverpb.RangeRequest` */
export interface RangeRequest {
  readonly key: Uint8Array;
  /** Empty: the single key; one zero byte: everything from key on. */
  readonly rangeEnd: Uint8Array;
  /** <= 0: unlimited */
  readonly limit: number;
  /** <= 0: newest */
  readonly revision: number;
  /** Any number: undefined ones are InvalidSortOption. */
  readonly sortOrder: number;
  readonly sortTarget: number;
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}

export const SortOrder = { None: 0, Ascend: 1, Descend: 2 } as const;
export const SortTarget = { Key: 0, Version: 1, Create: 2, Mod: 3, Value: 4 } as const;

/** `etcdserverpb.PutRequest` */
export interface PutRequest {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

/** `etcdserverpb.DeleteRangeRequest` */
export interface DeleteRangeRequest {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly prevKv: boolean;
}

/** `etcdserverpb.CompactionRequest` */
export interface CompactionRequest {
  readonly revision: number;
  readonly physical: boolean;
}

const KEY_VALUE_FIELDS = ['', 'Key', 'CreateRevision', 'ModRevision', 'Version', 'Value', 'Lease'];

export function decodeKeyValue(bytes: Uint8Array): KeyValue {
  return readKeyValue(new ProtoReader(bytes));
}

/** Reads to the reader's end. */
export function readKeyValue(reader: ProtoReader): KeyValue {
  let key = EMPTY_BYTES;
  let createRevision = 0;
  let modRevision = 0;
  let version = 0;
  let value = EMPTY_BYTES;
  let lease = 0n;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) key = reader.bytes();
    else if (tag === 0x10) createRevision = reader.int64();
    else if (tag === 0x18) modRevision = reader.int64();
    else if (tag === 0x20) version = reader.int64();
    else if (tag === 0x2a) value = reader.bytes();
    else if (tag === 0x30) lease = reader.bigint64();
    else reader.skipUnknown(tag, KEY_VALUE_FIELDS);
  }
  return { key, createRevision, modRevision, version, value, lease };
}

/** The record of a put. */
export function encodeKeyValue(kv: KeyValue): Uint8Array {
  const writer = records.reset();
  writer.bytesField(1, kv.key);
  writer.int64Field(2, kv.createRevision);
  writer.int64Field(3, kv.modRevision);
  writer.int64Field(4, kv.version);
  writer.bytesField(5, kv.value);
  writer.bigint64Field(6, kv.lease);
  return writer.finish();
}

/** A marshalled KeyValue as `keys_only` answers it: the same without its value. Copies. */
export function keyValueWithoutValue(bytes: Uint8Array): Uint8Array {
  const kv = decodeKeyValue(bytes);
  return kv.value.length === 0 ? bytes.slice() : encodeKeyValue({ ...kv, value: EMPTY_BYTES });
}

const RANGE_FIELDS = [
  '',
  'Key',
  'RangeEnd',
  'Limit',
  'Revision',
  'SortOrder',
  'SortTarget',
  'Serializable',
  'KeysOnly',
  'CountOnly',
  'MinModRevision',
  'MaxModRevision',
  'MinCreateRevision',
  'MaxCreateRevision',
];

export function decodeRangeRequest(bytes: Uint8Array): RangeRequest {
  return readRangeRequest(new ProtoReader(bytes));
}

/** Reads to the reader's end: the whole input or the message that was entered. */
export function readRangeRequest(reader: ProtoReader): RangeRequest {
  const request = {
    key: EMPTY_BYTES,
    rangeEnd: EMPTY_BYTES,
    limit: 0,
    revision: 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  };
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) request.key = reader.bytes();
    else if (tag === 0x12) request.rangeEnd = reader.bytes();
    else if (tag === 0x18) request.limit = reader.int64();
    else if (tag === 0x20) request.revision = reader.int64();
    else if (tag === 0x28) request.sortOrder = reader.int32();
    else if (tag === 0x30) request.sortTarget = reader.int32();
    else if (tag === 0x38) request.serializable = reader.bool();
    else if (tag === 0x40) request.keysOnly = reader.bool();
    else if (tag === 0x48) request.countOnly = reader.bool();
    else if (tag === 0x50) request.minModRevision = reader.int64();
    else if (tag === 0x58) request.maxModRevision = reader.int64();
    else if (tag === 0x60) request.minCreateRevision = reader.int64();
    else if (tag === 0x68) request.maxCreateRevision = reader.int64();
    else reader.skipUnknown(tag, RANGE_FIELDS);
  }
  return request;
}

const PUT_FIELDS = ['', 'Key', 'Value', 'Lease', 'PrevKv', 'IgnoreValue', 'IgnoreLease'];

/** Decodes bytes[start, end). */
export function decodePutRequest(bytes: Uint8Array, start = 0, end = bytes.length): PutRequest {
  return readPutRequest(new ProtoReader(bytes, start, end));
}

export function readPutRequest(reader: ProtoReader): PutRequest {
  let key = EMPTY_BYTES;
  let value = EMPTY_BYTES;
  let lease = 0n;
  let prevKv = false;
  let ignoreValue = false;
  let ignoreLease = false;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) key = reader.bytes();
    else if (tag === 0x12) value = reader.bytes();
    else if (tag === 0x18) lease = reader.bigint64();
    else if (tag === 0x20) prevKv = reader.bool();
    else if (tag === 0x28) ignoreValue = reader.bool();
    else if (tag === 0x30) ignoreLease = reader.bool();
    else reader.skipUnknown(tag, PUT_FIELDS);
  }
  return { key, value, lease, prevKv, ignoreValue, ignoreLease };
}

const DELETE_FIELDS = ['', 'Key', 'RangeEnd', 'PrevKv'];

/** Decodes bytes[start, end). */
export function decodeDeleteRangeRequest(bytes: Uint8Array, start = 0, end = bytes.length): DeleteRangeRequest {
  return readDeleteRangeRequest(new ProtoReader(bytes, start, end));
}

export function readDeleteRangeRequest(reader: ProtoReader): DeleteRangeRequest {
  let key = EMPTY_BYTES;
  let rangeEnd = EMPTY_BYTES;
  let prevKv = false;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) key = reader.bytes();
    else if (tag === 0x12) rangeEnd = reader.bytes();
    else if (tag === 0x18) prevKv = reader.bool();
    else reader.skipUnknown(tag, DELETE_FIELDS);
  }
  return { key, rangeEnd, prevKv };
}

const COMPACTION_FIELDS = ['', 'Revision', 'Physical'];

/** Decodes bytes[start, end). */
export function decodeCompactionRequest(bytes: Uint8Array, start = 0, end = bytes.length): CompactionRequest {
  const reader = new ProtoReader(bytes, start, end);
  let revision = 0;
  let physical = false;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) revision = reader.int64();
    else if (tag === 0x10) physical = reader.bool();
    else reader.skipUnknown(tag, COMPACTION_FIELDS);
  }
  return { revision, physical };
}

/** What a range found; `kvs` are marshalled KeyValues, in the order of the answer. */
export interface RangeResult {
  readonly kvs: readonly Uint8Array[];
  readonly more: boolean;
  readonly count: number;
}

/** `prevKv`: the marshalled former KeyValue, when asked for and there was one. */
export function encodePutResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
  prevKv?: Uint8Array,
): Uint8Array {
  header.write(scratch.reset(), revision, raftTerm);
  writePutBody(scratch, prevKv);
  return scratch.finish();
}

export function encodeRangeResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
  result: RangeResult,
): Uint8Array {
  header.write(scratch.reset(), revision, raftTerm);
  writeRangeBody(scratch, result);
  return scratch.finish();
}

/** `prevKvs`: the deleted KeyValues, marshalled, when asked for. */
export function encodeDeleteRangeResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
  deleted: number,
  prevKvs: readonly Uint8Array[],
): Uint8Array {
  header.write(scratch.reset(), revision, raftTerm);
  writeDeleteRangeBody(scratch, deleted, prevKvs);
  return scratch.finish();
}

export function encodeCompactionResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
): Uint8Array {
  header.write(scratch.reset(), revision, raftTerm);
  return scratch.finish();
}

/** Everything of a PutResponse behind its header. */
export function writePutBody(writer: ProtoWriter, prevKv: Uint8Array | undefined): void {
  if (prevKv !== undefined) writer.messageField(2, prevKv);
}

/** Everything of a RangeResponse behind its header. */
export function writeRangeBody(writer: ProtoWriter, result: RangeResult): void {
  for (const kv of result.kvs) writer.messageField(2, kv);
  writer.boolField(3, result.more);
  writer.int64Field(4, result.count);
}

/** Everything of a DeleteRangeResponse behind its header. */
export function writeDeleteRangeBody(writer: ProtoWriter, deleted: number, prevKvs: readonly Uint8Array[]): void {
  writer.int64Field(2, deleted);
  for (const kv of prevKvs) writer.messageField(3, kv);
}

/** One thread encodes one reply at a time. */
const scratch = new ProtoWriter();

/** Records live longer than replies: their own slabs, so that neither keeps the other's memory. */
const records = new ProtoWriter();
