/**
 * Single writes and transactions over the key space, in etcd's order of steps.
 *
 *   txn:  compares of all levels, against the state before ─> the branches taken are fixed
 *         ─> preconditions of every operation in them, in order ─> the first that fails ends it without any effect (V6)
 *         ─> operations in order, each seeing the changes of those before it ─> one revision for all
 *
 * `wanted` false means that nobody waits for the answer here: results are not collected. It never changes what is
 * stored nor whether the transaction fails, or members would come apart (S9, etcd #18667).
 */
import { assert } from '../../base/assert.js';
import { compareBytes, EMPTY_BYTES } from '../../base/bytes.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import { type DeleteRangeRequest, decodeKeyValue, type PutRequest, type RangeRequest } from '../../wire/kv.js';
import {
  type Compare,
  CompareResult,
  CompareTarget,
  type OpResult,
  type RequestOp,
  type TxnRequest,
  type TxnResult,
} from '../../wire/txn.js';
import type { Mvcc } from './mvcc.js';
import { executeRange, rangeEndOf, revisionError } from './range.js';
import { copyRecord } from './record.js';

/** What leases are asked; a key is attached to the lease that its record names. */
export interface LeaseLookup {
  has(id: bigint): boolean;
}

export interface PutOutcome {
  readonly revision: number;
  /** The record before, a copy, when asked for and there was one. */
  readonly prevKv: Uint8Array | undefined;
}

export interface DeleteOutcome {
  readonly revision: number;
  readonly deleted: number;
  readonly prevKvs: readonly Uint8Array[];
}

export interface TxnOutcome {
  readonly revision: number;
  /** Undefined when nobody wants it. */
  readonly result: TxnResult | undefined;
}

/** A put of its own. */
export function applyPut(
  mvcc: Mvcc,
  leases: LeaseLookup,
  request: PutRequest,
  wanted: boolean,
): PutOutcome | EtcdErrorCode {
  // The lease first here, the key first inside a transaction: as in etcd.
  if (request.lease !== 0n && !leases.has(request.lease)) return EtcdErrorCode.LeaseNotFound;
  if (!hasFormer(mvcc, request)) return EtcdErrorCode.KeyNotFound;
  mvcc.begin();
  const outcome = put(mvcc, request, wanted);
  mvcc.end();
  return outcome;
}

/** A deletion of its own. */
export function applyDeleteRange(mvcc: Mvcc, request: DeleteRangeRequest, wanted: boolean): DeleteOutcome {
  mvcc.begin();
  const outcome = deleteRange(mvcc, request, wanted);
  mvcc.end();
  return outcome;
}

/** A transaction with writes. */
export function applyTxn(
  mvcc: Mvcc,
  leases: LeaseLookup,
  request: TxnRequest,
  wanted: boolean,
): TxnOutcome | EtcdErrorCode {
  const path = pathOf(mvcc, request);
  const error = preconditions(mvcc, leases, request, new PathCursor(path));
  if (error !== undefined) return error;
  mvcc.begin();
  const result = execute(mvcc, request, new PathCursor(path), wanted);
  return { revision: mvcc.end(), result };
}

/** A transaction of ranges only, read from the present state. */
export function readTxn(mvcc: Mvcc, request: TxnRequest): { revision: number; result: TxnResult } | EtcdErrorCode {
  const path = pathOf(mvcc, request);
  const error = preconditions(mvcc, NO_LEASES, request, new PathCursor(path));
  if (error !== undefined) return error;
  const result = execute(mvcc, request, new PathCursor(path), true);
  assert(result !== undefined, 'a wanted transaction has a result');
  return { revision: mvcc.currentRevision, result };
}

const NO_LEASES: LeaseLookup = { has: () => false };

/** Walks through the outcomes of the compares in the order in which transactions are met. */
class PathCursor {
  readonly #path: readonly boolean[];
  #at = 0;

  constructor(path: readonly boolean[]) {
    this.#path = path;
  }

  next(): boolean {
    const succeeded = this.#path[this.#at];
    assert(succeeded !== undefined, 'every transaction of the path was compared');
    this.#at += 1;
    return succeeded;
  }
}

/** The outcome of the transaction's compares, then those of the nested ones in the branch taken, in order. */
function pathOf(mvcc: Mvcc, request: TxnRequest, path: boolean[] = []): boolean[] {
  const succeeded = request.compare.every(compare => holds(mvcc, compare));
  path.push(succeeded);
  for (const op of succeeded ? request.success : request.failure) {
    if (op.kind === 'txn') pathOf(mvcc, op.request, path);
  }
  return path;
}

/** Whether every key of the compare's range satisfies it; without any key, a missing key is compared. */
function holds(mvcc: Mvcc, compare: Compare): boolean {
  const { index } = mvcc;
  const { slots } = index.select(compare.key, rangeEndOf(compare.rangeEnd), mvcc.currentRevision, 0);
  if (slots.length === 0) return compare.target !== CompareTarget.Value && holdsForMissing(compare);
  return slots.every(slot => holdsFor(mvcc, compare, slot));
}

function holdsForMissing(compare: Compare): boolean {
  if (compare.target === CompareTarget.Lease) return decide(compare, compareIntegers(0n, leaseOperand(compare)));
  return decide(compare, compareIntegers(0, integerOperand(compare)));
}

function holdsFor(mvcc: Mvcc, compare: Compare, slot: number): boolean {
  const { table } = mvcc.index;
  switch (compare.target) {
    case CompareTarget.Version:
      return decide(compare, compareIntegers(table.version(slot), integerOperand(compare)));
    case CompareTarget.Create:
      return decide(compare, compareIntegers(table.createdMain(slot), integerOperand(compare)));
    case CompareTarget.Mod:
      return decide(compare, compareIntegers(table.newestMain(slot), integerOperand(compare)));
    case CompareTarget.Value: {
      const { value } = decodeKeyValue(mvcc.record(table.newestMain(slot), table.newestSub(slot)));
      const operand = compare.operand === CompareTarget.Value ? compare.value : EMPTY_BYTES;
      return decide(compare, compareBytes(value, operand));
    }
    case CompareTarget.Lease: {
      const { lease } = decodeKeyValue(mvcc.record(table.newestMain(slot), table.newestSub(slot)));
      return decide(compare, compareIntegers(lease, leaseOperand(compare)));
    }
    default:
      return decide(compare, 0);
  }
}

function integerOperand(compare: Compare): number {
  return compare.operand === compare.target ? compare.integer : 0;
}

function leaseOperand(compare: Compare): bigint {
  return compare.operand === CompareTarget.Lease ? compare.lease : 0n;
}

function compareIntegers<T extends number | bigint>(left: T, right: T): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** An undefined result number holds: it asks for nothing. */
function decide(compare: Compare, order: number): boolean {
  switch (compare.result) {
    case CompareResult.Equal:
      return order === 0;
    case CompareResult.Greater:
      return order > 0;
    case CompareResult.Less:
      return order < 0;
    case CompareResult.NotEqual:
      return order !== 0;
    default:
      return true;
  }
}

function branch(request: TxnRequest, path: PathCursor): readonly RequestOp[] {
  return path.next() ? request.success : request.failure;
}

/** The first precondition of the operations to come that does not hold. */
function preconditions(
  mvcc: Mvcc,
  leases: LeaseLookup,
  request: TxnRequest,
  path: PathCursor,
): EtcdErrorCode | undefined {
  for (const op of branch(request, path)) {
    let error: EtcdErrorCode | undefined;
    if (op.kind === 'range') error = innerRangeError(mvcc, op.request);
    else if (op.kind === 'put') error = innerPutError(mvcc, leases, op.request);
    else if (op.kind === 'txn') error = preconditions(mvcc, leases, op.request, path);
    if (error !== undefined) return error;
  }
  return undefined;
}

/** Inside a transaction only 0 means the newest revision: a negative one is older than any. */
function innerRangeError(mvcc: Mvcc, { revision }: RangeRequest): EtcdErrorCode | undefined {
  if (revision < 0 && revision < mvcc.compactRevision) return EtcdErrorCode.Compacted;
  return revisionError(mvcc, revision);
}

function innerPutError(mvcc: Mvcc, leases: LeaseLookup, request: PutRequest): EtcdErrorCode | undefined {
  if (!hasFormer(mvcc, request)) return EtcdErrorCode.KeyNotFound;
  return request.lease !== 0n && !leases.has(request.lease) ? EtcdErrorCode.LeaseNotFound : undefined;
}

/** Whether there is what ignore_value and ignore_lease refer to. */
function hasFormer(mvcc: Mvcc, request: PutRequest): boolean {
  if (!request.ignoreValue && !request.ignoreLease) return true;
  const slot = mvcc.index.find(request.key);
  return slot !== -1 && mvcc.index.table.live(slot);
}

function execute(mvcc: Mvcc, request: TxnRequest, path: PathCursor, wanted: boolean): TxnResult | undefined {
  const succeeded = path.next();
  const responses: OpResult[] = [];
  for (const op of succeeded ? request.success : request.failure) {
    if (op.kind === 'put') {
      const { revision, prevKv } = put(mvcc, op.request, wanted);
      if (wanted) responses.push({ kind: 'put', revision, prevKv });
    } else if (op.kind === 'deleteRange') {
      const { revision, deleted, prevKvs } = deleteRange(mvcc, op.request, wanted);
      if (wanted) responses.push({ kind: 'deleteRange', revision, deleted, prevKvs });
    } else if (op.kind === 'txn') {
      const result = execute(mvcc, op.request, path, wanted);
      if (result !== undefined) responses.push({ kind: 'txn', result });
    } else if (op.kind === 'range' && wanted) {
      const revision = mvcc.readRevision;
      responses.push({ kind: 'range', revision, result: executeRange(mvcc, op.request) });
    }
  }
  return wanted ? { succeeded, responses } : undefined;
}

/** A put inside a write that was begun; what ignore_* refers to exists. */
function put(mvcc: Mvcc, request: PutRequest, wanted: boolean): PutOutcome {
  let { value, lease } = request;
  let prevKv: Uint8Array | undefined;
  if (request.ignoreValue || request.ignoreLease || (wanted && request.prevKv)) {
    const former = mvcc.get(request.key);
    if (former !== undefined) {
      // The copy also backs `value`: the record itself is a view that the next use of the store ends.
      prevKv = copyRecord(former);
      const kv = decodeKeyValue(prevKv);
      if (request.ignoreValue) value = kv.value;
      if (request.ignoreLease) lease = kv.lease;
    }
  }
  const revision = mvcc.put(request.key, value, lease);
  return { revision, prevKv: request.prevKv ? prevKv : undefined };
}

/** A deletion inside a write that was begun. */
function deleteRange(mvcc: Mvcc, request: DeleteRangeRequest, wanted: boolean): DeleteOutcome {
  const prevKvs: Uint8Array[] = [];
  const deleted = mvcc.deleteRange(
    request.key,
    rangeEndOf(request.rangeEnd),
    wanted && request.prevKv ? prevKvs : undefined,
  );
  return { revision: mvcc.readRevision, deleted, prevKvs };
}
