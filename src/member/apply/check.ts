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
  readonly deletes: KeyRanges;
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
  const deletes = new KeyRanges();
  for (const op of ops) if (op.kind === 'deleteRange') deletes.add(...boundsOf(op.request));
  for (const op of ops) {
    if (op.kind !== 'txn') continue;
    const success = writesOf(op.request.success);
    const failure = success === undefined ? undefined : writesOf(op.request.failure);
    if (success === undefined || failure === undefined) return undefined;
    const either = new Set([...success.puts, ...failure.puts]);
    for (const key of either) if (puts.has(key) || deletes.cover(key)) return undefined;
    for (const key of either) puts.add(key);
    deletes.addAll(success.deletes);
    deletes.addAll(failure.deletes);
  }
  for (const op of ops) {
    if (op.kind !== 'put') continue;
    const key = latin1(op.request.key);
    if (puts.has(key) || deletes.cover(key)) return undefined;
    puts.add(key);
  }
  return { puts, deletes };
}

/** What a delete covers: [start, end), for a single key up to its immediate successor. */
function boundsOf(request: DeleteRangeRequest): [start: string, end: string] {
  const start = latin1(request.key);
  return [start, request.rangeEnd.length === 0 ? `${start}\0` : latin1(request.rangeEnd)];
}

/** A set of keys given as ranges: kept ascending and apart from each other, so that a question takes one search. */
class KeyRanges {
  readonly #starts: string[] = [];
  readonly #ends: string[] = [];

  /** Adds [start, end). */
  add(start: string, end: string): void {
    if (end <= start) return;
    const first = firstAbove(this.#ends, start, true);
    let last = first;
    while (last < this.#starts.length && this.#starts[last]! <= end) last += 1;
    const merged = last - first;
    const from = merged > 0 && this.#starts[first]! < start ? this.#starts[first]! : start;
    const to = merged > 0 && this.#ends[last - 1]! > end ? this.#ends[last - 1]! : end;
    this.#starts.splice(first, merged, from);
    this.#ends.splice(first, merged, to);
  }

  addAll(others: KeyRanges): void {
    others.#starts.forEach((start, at) => {
      this.add(start, others.#ends[at]!);
    });
  }

  cover(key: string): boolean {
    const at = firstAbove(this.#ends, key, false);
    return at < this.#starts.length && this.#starts[at]! <= key;
  }
}

/** Position of the first text above `bound`, or at it when `inclusive`. */
function firstAbove(texts: readonly string[], bound: string, inclusive: boolean): number {
  let low = 0;
  let high = texts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const text = texts[middle]!;
    if (text < bound || (text === bound && !inclusive)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
