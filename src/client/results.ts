/**
 * What calls answer, in the user's terms: numbers for revisions, text on demand for bytes.
 */
import type { KeyValue as WireKeyValue } from '../wire/kv.js';
import { readKeyValue } from '../wire/kv.js';
import { ProtoReader } from '../wire/proto.js';

/** A key with its value and history. Text is decoded when asked for; bytes that are not UTF-8 become U+FFFD. */
export class KeyValue {
  readonly keyBytes: Uint8Array;
  readonly valueBytes: Uint8Array;
  /** Revision of the put that created the key. */
  readonly createRevision: number;
  /** Revision of the last put. */
  readonly modRevision: number;
  /** Puts since creation, from 1. */
  readonly version: number;
  /** The lease the key hangs on; 0n: none. */
  readonly lease: bigint;

  constructor(kv: WireKeyValue) {
    this.keyBytes = kv.key;
    this.valueBytes = kv.value;
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.lease = kv.lease;
  }

  get key(): string {
    return lenientDecoder.decode(this.keyBytes);
  }

  get value(): string {
    return lenientDecoder.decode(this.valueBytes);
  }
}

export interface PutResult {
  /** The store's revision after the put. */
  readonly revision: number;
  /** What was there before, when asked for with `previous`. */
  readonly previous: KeyValue | undefined;
}

export interface RangeResult {
  readonly kvs: readonly KeyValue[];
  /** Keys in the range, before limit and filters. */
  readonly count: number;
  /** Whether the limit cut something off. */
  readonly more: boolean;
  /** The store's revision when the range was read. */
  readonly revision: number;
}

export interface DeleteResult {
  readonly deleted: number;
  /** The deleted keys, when asked for with `previous`. */
  readonly previous: readonly KeyValue[];
  readonly revision: number;
}

const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });

export function decodePutResult(response: Uint8Array): PutResult {
  const reader = new ProtoReader(response);
  return readPutResult(reader);
}

export function readPutResult(reader: ProtoReader): PutResult {
  let revision = 0;
  let previous: KeyValue | undefined;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) revision = readRevision(reader);
    else if (tag === 0x12) previous = readKv(reader);
    else reader.skip(tag);
  }
  return { revision, previous };
}

export function decodeRangeResult(response: Uint8Array): RangeResult {
  return readRangeResult(new ProtoReader(response));
}

export function readRangeResult(reader: ProtoReader): RangeResult {
  const kvs: KeyValue[] = [];
  let count = 0;
  let more = false;
  let revision = 0;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) revision = readRevision(reader);
    else if (tag === 0x12) kvs.push(readKv(reader));
    else if (tag === 0x18) more = reader.bool();
    else if (tag === 0x20) count = reader.int64();
    else reader.skip(tag);
  }
  return { kvs, count, more, revision };
}

export function decodeDeleteResult(response: Uint8Array): DeleteResult {
  return readDeleteResult(new ProtoReader(response));
}

export function readDeleteResult(reader: ProtoReader): DeleteResult {
  const previous: KeyValue[] = [];
  let deleted = 0;
  let revision = 0;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) revision = readRevision(reader);
    else if (tag === 0x10) deleted = reader.int64();
    else if (tag === 0x1a) previous.push(readKv(reader));
    else reader.skip(tag);
  }
  return { deleted, previous, revision };
}

/** Who answered, and when: the store's revision and the raft term at that time. */
export interface ResponseHeader {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly revision: number;
  readonly raftTerm: number;
}

export const noHeader: ResponseHeader = { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 };

/** Reads a response header as a whole. */
export function readHeader(reader: ProtoReader): ResponseHeader {
  const outer = reader.enter();
  let { clusterId, memberId, revision, raftTerm } = noHeader;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) clusterId = reader.uint64();
    else if (tag === 0x10) memberId = reader.uint64();
    else if (tag === 0x18) revision = reader.int64();
    else if (tag === 0x20) raftTerm = reader.int64();
    else reader.skip(tag);
  }
  reader.leave(outer);
  return { clusterId, memberId, revision, raftTerm };
}

/** Reads a response header, of which clients want the revision. */
export function readRevision(reader: ProtoReader): number {
  const outer = reader.enter();
  let revision = 0;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x18) revision = reader.int64();
    else reader.skip(tag);
  }
  reader.leave(outer);
  return revision;
}

/** Reads an embedded mvccpb.KeyValue. */
export function readKv(reader: ProtoReader): KeyValue {
  const outer = reader.enter();
  const kv = new KeyValue(readKeyValue(reader));
  reader.leave(outer);
  return kv;
}
