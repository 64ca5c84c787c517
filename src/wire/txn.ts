/**
 * TxnRequest and TxnResponse, hand-written: compares, the two branches, nested transactions.
 *
 * A oneof keeps its last member. An operation whose oneof is not set decodes to kind 'none' (etcd answers KeyNotFound).
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { type ResponseHeaderTemplate, writeInnerHeader } from './header.js';
import {
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  type RangeResult,
  readDeleteRangeRequest,
  readPutRequest,
  readRangeRequest,
  writeDeleteRangeBody,
  writePutBody,
  writeRangeBody,
} from './kv.js';
import { ProtoReader, ProtoWriter } from './proto.js';

export const CompareResult = { Equal: 0, Greater: 1, Less: 2, NotEqual: 3 } as const;
export const CompareTarget = { Version: 0, Create: 1, Mod: 2, Value: 3, Lease: 4 } as const;
export type CompareTarget = (typeof CompareTarget)[keyof typeof CompareTarget];

/**
 * `etcdserverpb.Compare`
 *
 * `operand` says which member of target_union was set. When it is not the one of `target`, the compare is against zero
 * or the empty value.
 */
export interface Compare {
  /** Any number; undefined ones never hold. */
  readonly result: number;
  /** Any number; undefined ones compare nothing. */
  readonly target: number;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly operand: CompareTarget | undefined;
  /** The operand, when it is a version or a revision. */
  readonly integer: number;
  /** The operand, when it is a value. */
  readonly value: Uint8Array;
  /** The operand, when it is a lease. */
  readonly lease: bigint;
}

/** `etcdserverpb.RequestOp` */
export type RequestOp =
  | { readonly kind: 'range'; readonly request: RangeRequest }
  | { readonly kind: 'put'; readonly request: PutRequest }
  | { readonly kind: 'deleteRange'; readonly request: DeleteRangeRequest }
  | { readonly kind: 'txn'; readonly request: TxnRequest }
  | { readonly kind: 'none' };

/** `etcdserverpb.TxnRequest` */
export interface TxnRequest {
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

/** What one operation of a Txn did; `revision` goes into its inner header. */
export type OpResult =
  | { readonly kind: 'range'; readonly revision: number; readonly result: RangeResult }
  | { readonly kind: 'put'; readonly revision: number; readonly prevKv: Uint8Array | undefined }
  | {
      readonly kind: 'deleteRange';
      readonly revision: number;
      readonly deleted: number;
      readonly prevKvs: readonly Uint8Array[];
    }
  | { readonly kind: 'txn'; readonly result: TxnResult };

export interface TxnResult {
  readonly succeeded: boolean;
  readonly responses: readonly OpResult[];
}

const TXN_FIELDS = ['', 'Compare', 'Success', 'Failure'];

/** Decodes bytes[start, end). */
export function decodeTxnRequest(bytes: Uint8Array, start = 0, end = bytes.length): TxnRequest {
  return readTxnRequest(new ProtoReader(bytes, start, end));
}

function readTxnRequest(reader: ProtoReader): TxnRequest {
  const compare: Compare[] = [];
  const success: RequestOp[] = [];
  const failure: RequestOp[] = [];
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) {
      const outer = reader.enter();
      compare.push(readCompare(reader));
      reader.leave(outer);
    } else if (tag === 0x12 || tag === 0x1a) {
      const outer = reader.enter();
      (tag === 0x12 ? success : failure).push(readRequestOp(reader));
      reader.leave(outer);
    } else {
      reader.skipUnknown(tag, TXN_FIELDS);
    }
  }
  return { compare, success, failure };
}

const COMPARE_FIELDS = [
  '',
  'Result',
  'Target',
  'Key',
  'Version',
  'CreateRevision',
  'ModRevision',
  'Value',
  'Lease',
  ...Array<string>(55).fill(''),
  'RangeEnd',
];

function readCompare(reader: ProtoReader): Compare {
  let result = 0;
  let target = 0;
  let key = EMPTY_BYTES;
  let rangeEnd = EMPTY_BYTES;
  let operand: CompareTarget | undefined;
  let integer = 0;
  let value = EMPTY_BYTES;
  let lease = 0n;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) {
      result = reader.int32();
    } else if (tag === 0x10) {
      target = reader.int32();
    } else if (tag === 0x1a) {
      key = reader.bytes();
    } else if (tag === 0x20 || tag === 0x28 || tag === 0x30) {
      operand = tag === 0x20 ? CompareTarget.Version : tag === 0x28 ? CompareTarget.Create : CompareTarget.Mod;
      integer = reader.int64();
    } else if (tag === 0x3a) {
      operand = CompareTarget.Value;
      value = reader.bytes();
    } else if (tag === 0x40) {
      operand = CompareTarget.Lease;
      lease = reader.bigint64();
    } else if (tag === 0x202) {
      rangeEnd = reader.bytes();
    } else {
      reader.skipUnknown(tag, COMPARE_FIELDS);
    }
  }
  return { result, target, key, rangeEnd, operand, integer, value, lease };
}

const OP_FIELDS = ['', 'RequestRange', 'RequestPut', 'RequestDeleteRange', 'RequestTxn'];
const NO_OP: RequestOp = { kind: 'none' };

function readRequestOp(reader: ProtoReader): RequestOp {
  let op = NO_OP;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag !== 0x0a && tag !== 0x12 && tag !== 0x1a && tag !== 0x22) {
      reader.skipUnknown(tag, OP_FIELDS);
      continue;
    }
    const outer = reader.enter();
    if (tag === 0x0a) op = { kind: 'range', request: readRangeRequest(reader) };
    else if (tag === 0x12) op = { kind: 'put', request: readPutRequest(reader) };
    else if (tag === 0x1a) op = { kind: 'deleteRange', request: readDeleteRangeRequest(reader) };
    else op = { kind: 'txn', request: readTxnRequest(reader) };
    reader.leave(outer);
  }
  return op;
}

export function encodeTxnResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
  result: TxnResult,
): Uint8Array {
  header.write(scratch.reset(), revision, raftTerm);
  writeTxnBody(scratch, result);
  return scratch.finish();
}

/** Everything of a TxnResponse behind its header. */
function writeTxnBody(writer: ProtoWriter, result: TxnResult): void {
  writer.boolField(2, result.succeeded);
  for (const response of result.responses) {
    const start = writer.open(3);
    writeResponseOp(writer, response);
    writer.close(start);
  }
}

function writeResponseOp(writer: ProtoWriter, op: OpResult): void {
  if (op.kind === 'range') {
    const start = writer.open(1);
    writeInnerHeader(writer, op.revision);
    writeRangeBody(writer, op.result);
    writer.close(start);
  } else if (op.kind === 'put') {
    const start = writer.open(2);
    writeInnerHeader(writer, op.revision);
    writePutBody(writer, op.prevKv);
    writer.close(start);
  } else if (op.kind === 'deleteRange') {
    const start = writer.open(3);
    writeInnerHeader(writer, op.revision);
    writeDeleteRangeBody(writer, op.deleted, op.prevKvs);
    writer.close(start);
  } else {
    const start = writer.open(4);
    writeInnerHeader(writer, 0);
    writeTxnBody(writer, op.result);
    writer.close(start);
  }
}

/** One thread encodes one reply at a time. */
const scratch = new ProtoWriter();
