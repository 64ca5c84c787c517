/**
 * The backend quota: what a request may add to the state file.
 *
 *   put          256 + key + value
 *   txn          the dearer of its two branches, nested transactions not counted
 *   lease grant  64
 *
 * A request without cost always passes. The costs are etcd's, its blind spot for nested transactions included: the
 * NOSPACE layer decides by them, and members that decide differently come apart.
 */
import { quotaBytesDefault } from '../../transport/control.js';
import type { PutRequest } from '../../wire/kv.js';
import type { RequestOp, TxnRequest } from '../../wire/txn.js';

/** etcd's default of --quota-backend-bytes. */
export const QUOTA_BYTES_DEFAULT = quotaBytesDefault;

const PUT_OVERHEAD_BYTES = 256;
export const COST_OF_LEASE_GRANT = 64;

export function costOfPut(request: PutRequest): number {
  return PUT_OVERHEAD_BYTES + request.key.length + request.value.length;
}

export function costOfTxn(request: TxnRequest): number {
  return Math.max(costOfBranch(request.success), costOfBranch(request.failure));
}

function costOfBranch(ops: readonly RequestOp[]): number {
  let cost = 0;
  for (const op of ops) if (op.kind === 'put') cost += costOfPut(op.request);
  return cost;
}

export class Quota {
  readonly #quotaBytes: number;
  readonly #sizeBytes: () => number;

  /** `quotaBytes`: --quota-backend-bytes; 0 the default, negative none. `sizeBytes`: the state file's size now. */
  constructor(quotaBytes: number, sizeBytes: () => number) {
    this.#quotaBytes = quotaBytes === 0 ? QUOTA_BYTES_DEFAULT : quotaBytes;
    this.#sizeBytes = sizeBytes;
  }

  /** Whether a request of this cost fits. */
  allows(costBytes: number): boolean {
    return costBytes === 0 || this.#quotaBytes < 0 || this.#sizeBytes() + costBytes < this.#quotaBytes;
  }
}
