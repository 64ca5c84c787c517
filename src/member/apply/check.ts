/**
 * What is wrong with a KV request whatever the store holds: found before it is proposed or read, in etcd's order.
 *
 * Every function returns the first error, or undefined for a request that may go on. Keys are compared as latin1
 * strings: one character a byte, so that string order is byte order.
 */
import { EtcdErrorCode } from '../../wire/errors.js';
import type { DeleteRangeRequest, PutRequest, RangeRequest } from '../../wire/kv.js';
import { SortOrder, SortTarget } from '../../wire/kv.js';
import type { RequestOp, TxnRequest } from '../../wire/txn.js';

export function checkRange(request: RangeRequest): EtcdErrorCode | undefined {
  if (request.key.length === 0) return EtcdErrorCode.EmptyKey;
  const { sortOrder, sortTarget } = request;
  const known =
    sortOrder >= SortOrder.None &&
    sortOrder <= SortOrder.Descend &&
    sortTarget >= SortTarget.Key &&
    sortTarget <= SortTarget.Value;
  return known ? undefined : EtcdErrorCode.InvalidSortOption;
}

export function checkPut(request: PutRequest): EtcdErrorCode | undefined {
  if (request.key.length === 0) return EtcdErrorCode.EmptyKey;
  if (request.ignoreValue && request.value.length !== 0) return EtcdErrorCode.ValueProvided;
  if (request.ignoreLease && request.lease !== 0n) return EtcdErrorCode.LeaseProvided;
  return undefined;
}

export function checkDeleteRange(request: DeleteRangeRequest): EtcdErrorCode | undefined {
  return request.key.length === 0 ? EtcdErrorCode.EmptyKey : undefined;
}

/** `maxTxnOps`: --max-txn-ops. A nested transaction may use what its parents leave of it. */
export function checkTxn(request: TxnRequest, maxTxnOps: number): EtcdErrorCode | undefined {
  return checkTxnShape(request, maxTxnOps) ?? duplicateKey(request.success) ?? duplicateKey(request.failure);
}

/** Whether the transaction holds nothing but ranges, at any depth: it needs no place in the log. */
export function isReadOnly(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(op => op.kind === 'range');
}

/** Whether every range of a read-only transaction is serializable: then it is answered locally. */
export function isSerializable(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(op => op.kind === 'range' && op.request.serializable);
}

function checkTxnShape(request: TxnRequest, maxTxnOps: number): EtcdErrorCode | undefined {
  const { compare, success, failure } = request;
  const ops = Math.max(compare.length, success.length, failure.length);
  if (ops > maxTxnOps) return EtcdErrorCode.TooManyOps;
  if (compare.some(({ key }) => key.length === 0)) return EtcdErrorCode.EmptyKey;
  for (const op of [...success, ...failure]) {
    const error = checkOp(op, maxTxnOps - ops);
    if (error !== undefined) return error;
  }
  return undefined;
}

function checkOp(op: RequestOp, opsLeft: number): EtcdErrorCode | undefined {
  if (op.kind === 'range') return checkRange(op.request);
  if (op.kind === 'put') return checkPut(op.request);
  if (op.kind === 'deleteRange') return checkDeleteRange(op.request);
  return op.kind === 'txn' ? checkTxnShape(op.request, opsLeft) : EtcdErrorCode.KeyNotFound;
}

/** What a list of operations may write: the keys it puts, and the ranges it deletes. */
interface Writes {
  readonly puts: ReadonlySet<string>;
  readonly deletes: readonly KeyRange[];
}

interface KeyRange {
  readonly start: string;
  /** Exclusive; undefined: the key alone. */
  readonly end: string | undefined;
}

function duplicateKey(ops: readonly RequestOp[]): EtcdErrorCode | undefined {
  return writesOf(ops) === undefined ? EtcdErrorCode.DuplicateKey : undefined;
}

/**
 * Collects what `ops` may write together; undefined when one key is put twice, or put and deleted. Deletes may overlap,
 * and the two branches of one nested transaction exclude each other.
 *
 * Members must agree with etcd about what gets into the log, so two of its gaps are kept: what an earlier nested
 * transaction puts is not held against the deletes of a later one, and a delete without upper bound (range_end one zero
 * byte) covers nothing, because its end is taken literally.
 */
function writesOf(ops: readonly RequestOp[]): Writes | undefined {
  const puts = new Set<string>();
  const deletes: KeyRange[] = [];
  for (const op of ops) if (op.kind === 'deleteRange') deletes.push(rangeOf(op.request));
  const clashes = (key: string): boolean => puts.has(key) || deletes.some(range => covers(range, key));
  for (const op of ops) {
    if (op.kind !== 'txn') continue;
    const success = writesOf(op.request.success);
    const failure = success === undefined ? undefined : writesOf(op.request.failure);
    if (success === undefined || failure === undefined) return undefined;
    const either = new Set([...success.puts, ...failure.puts]);
    for (const key of either) if (clashes(key)) return undefined;
    for (const key of either) puts.add(key);
    deletes.push(...success.deletes, ...failure.deletes);
  }
  for (const op of ops) {
    if (op.kind !== 'put') continue;
    const key = latin1(op.request.key);
    if (clashes(key)) return undefined;
    puts.add(key);
  }
  return { puts, deletes };
}

function rangeOf(request: DeleteRangeRequest): KeyRange {
  const end = request.rangeEnd.length === 0 ? undefined : latin1(request.rangeEnd);
  return { start: latin1(request.key), end };
}

function covers({ start, end }: KeyRange, key: string): boolean {
  return end === undefined ? key === start : key >= start && key < end;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
