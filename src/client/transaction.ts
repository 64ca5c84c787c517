/**
 * Transactions as plain data: comparisons, and what to do when all of them hold or not.
 *
 *     await client.txn({
 *       compare: [{ key: 'leader', version: 0 }],
 *       success: [{ put: 'leader', value: 'me' }],
 *       failure: [{ get: 'leader' }],
 *     });
 */

import { ProtoReader, ProtoWriter, WireType } from '../wire/proto.js';
import { CompareResult, CompareTarget } from '../wire/txn.js';
import { type Bytes, boundsOf, type Range, toBytes } from './ranges.js';
import {
  type DeleteSettings,
  type LeaseRef,
  leaseIdOf,
  type PutSettings,
  type RangeSettings,
  writeDelete,
  writePut,
  writeRange,
} from './requests.js';
import {
  type DeleteResult,
  type PutResult,
  type RangeResult,
  readDeleteResult,
  readPutResult,
  readRangeResult,
  readRevision,
} from './results.js';

/** A key (or every key of a range) against one operand; `is` defaults to '='. A missing key has version 0. */
export type Comparison = { readonly key: Range; readonly is?: '=' | '!=' | '<' | '>' } & (
  | { readonly version: number }
  | { readonly createRevision: number }
  | { readonly modRevision: number }
  | { readonly value: Bytes }
  | { readonly lease: LeaseRef }
);

export type Operation =
  | ({ readonly put: Bytes; readonly value: Bytes } & PutSettings)
  | ({ readonly get: Range } & RangeSettings)
  | ({ readonly delete: Range } & DeleteSettings)
  | { readonly txn: Transaction };

export interface Transaction {
  /** All must hold; none: holds. */
  readonly compare?: readonly Comparison[];
  readonly success?: readonly Operation[];
  readonly failure?: readonly Operation[];
}

/** One answer an operation of the branch that ran, in order. */
export type OperationResult =
  | ({ readonly kind: 'put' } & PutResult)
  | ({ readonly kind: 'get' } & RangeResult)
  | ({ readonly kind: 'delete' } & DeleteResult)
  | ({ readonly kind: 'txn' } & TxnResult);

export interface TxnResult {
  /** Whether the comparisons held. */
  readonly succeeded: boolean;
  readonly responses: readonly OperationResult[];
  readonly revision: number;
}

const RESULTS = {
  '=': CompareResult.Equal,
  '!=': CompareResult.NotEqual,
  '<': CompareResult.Less,
  '>': CompareResult.Greater,
} as const;

const scratch = new ProtoWriter();

export function encodeTxn(transaction: Transaction): Uint8Array {
  writeTxn(scratch.reset(), transaction);
  return scratch.finish();
}

function writeTxn(writer: ProtoWriter, transaction: Transaction): void {
  for (const comparison of transaction.compare ?? []) {
    const start = writer.open(1);
    writeComparison(writer, comparison);
    writer.close(start);
  }
  for (const operation of transaction.success ?? []) writeOperation(writer, 2, operation);
  for (const operation of transaction.failure ?? []) writeOperation(writer, 3, operation);
}

function writeComparison(writer: ProtoWriter, comparison: Comparison): void {
  const { key, rangeEnd } = boundsOf(comparison.key);
  writer.int64Field(1, RESULTS[comparison.is ?? '=']);
  if ('version' in comparison) {
    writeOperand(writer, CompareTarget.Version, key, 4, comparison.version);
  } else if ('createRevision' in comparison) {
    writeOperand(writer, CompareTarget.Create, key, 5, comparison.createRevision);
  } else if ('modRevision' in comparison) {
    writeOperand(writer, CompareTarget.Mod, key, 6, comparison.modRevision);
  } else if ('value' in comparison) {
    writer.int64Field(2, CompareTarget.Value);
    writer.bytesField(3, key);
    writer.messageField(7, toBytes(comparison.value));
  } else {
    writer.int64Field(2, CompareTarget.Lease);
    writer.bytesField(3, key);
    writer.tag(8, WireType.Varint);
    writer.bigint64(leaseIdOf(comparison.lease));
  }
  writer.bytesField(64, rangeEnd);
}

/** A oneof's member is written even when zero. */
function writeOperand(writer: ProtoWriter, target: number, key: Uint8Array, field: number, operand: number): void {
  writer.int64Field(2, target);
  writer.bytesField(3, key);
  writer.tag(field, WireType.Varint);
  writer.int64(operand);
}

function writeOperation(writer: ProtoWriter, branch: number, operation: Operation): void {
  const outer = writer.open(branch);
  if ('put' in operation) {
    const start = writer.open(2);
    writePut(writer, operation.put, operation.value, operation);
    writer.close(start);
  } else if ('get' in operation) {
    const start = writer.open(1);
    writeRange(writer, operation.get, operation);
    writer.close(start);
  } else if ('delete' in operation) {
    const start = writer.open(3);
    writeDelete(writer, operation.delete, operation);
    writer.close(start);
  } else {
    const start = writer.open(4);
    writeTxn(writer, operation.txn);
    writer.close(start);
  }
  writer.close(outer);
}

export function decodeTxnResult(response: Uint8Array): TxnResult {
  return readTxnResult(new ProtoReader(response));
}

function readTxnResult(reader: ProtoReader): TxnResult {
  const responses: OperationResult[] = [];
  let succeeded = false;
  let revision = 0;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) revision = readRevision(reader);
    else if (tag === 0x10) succeeded = reader.bool();
    else if (tag === 0x1a) responses.push(...readOperationResults(reader));
    else reader.skip(tag);
  }
  return { succeeded, responses, revision };
}

/** Reads one ResponseOp: one result, or none from a server that answers what this client does not know. */
function readOperationResults(reader: ProtoReader): OperationResult[] {
  const results: OperationResult[] = [];
  const outer = reader.enter();
  while (reader.more()) {
    const tag = reader.tag();
    if (tag !== 0x0a && tag !== 0x12 && tag !== 0x1a && tag !== 0x22) {
      reader.skip(tag);
      continue;
    }
    const end = reader.enter();
    if (tag === 0x0a) results.push({ kind: 'get', ...readRangeResult(reader) });
    else if (tag === 0x12) results.push({ kind: 'put', ...readPutResult(reader) });
    else if (tag === 0x1a) results.push({ kind: 'delete', ...readDeleteResult(reader) });
    else results.push({ kind: 'txn', ...readTxnResult(reader) });
    reader.leave(end);
  }
  reader.leave(outer);
  return results;
}
