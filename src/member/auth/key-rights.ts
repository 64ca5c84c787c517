/**
 * The rights that requests about keys need, and why a caller lacks them: for what is applied and for what is read.
 *
 *   put           WRITE of the key; of every key of the lease it names; with prev_kv READ of the key
 *   deleteRange   WRITE of the range; with prev_kv READ of it
 *   txn           READ of every compare; what its operations need, in both branches and at any depth
 *   lease         WRITE of every key that hangs on it, to revoke, renew or use it; READ of them to be told of them
 *
 * A lease is looked after by its keys because whoever can revoke it deletes them (etcd #8031). Root passes it unasked.
 */
import { EMPTY_BYTES } from '../../base/bytes.js';
import type { EtcdErrorCode } from '../../wire/errors.js';
import type { RequestIdentity } from '../../wire/internal.js';
import type { DeleteRangeRequest, PutRequest } from '../../wire/kv.js';
import type { RequestOp, TxnRequest } from '../../wire/txn.js';
import type { AuthStore } from './auth-store.js';

/** The keys of leases. */
export interface LeaseKeys {
  /** The keys that hang on a lease, in no order; none for an unknown one. */
  keysOf(leaseId: bigint): readonly Uint8Array[];
}

type Refusal = EtcdErrorCode | undefined;

export class KeyRights {
  readonly #auth: AuthStore;
  readonly #leases: LeaseKeys;

  constructor(auth: AuthStore, leases: LeaseKeys) {
    this.#auth = auth;
    this.#leases = leases;
  }

  refusePut(identity: RequestIdentity, { key, lease, prevKv }: PutRequest): Refusal {
    const refusal = this.#auth.refuseWrite(identity, key, EMPTY_BYTES) ?? this.refuseLease(identity, lease);
    if (refusal !== undefined || !prevKv) return refusal;
    return this.#auth.refuseRead(identity, key, EMPTY_BYTES);
  }

  refuseDelete(identity: RequestIdentity, { key, rangeEnd, prevKv }: DeleteRangeRequest): Refusal {
    const refusal = this.#auth.refuseWrite(identity, key, rangeEnd);
    return refusal === undefined && prevKv ? this.#auth.refuseRead(identity, key, rangeEnd) : refusal;
  }

  refuseTxn(identity: RequestIdentity, { compare, success, failure }: TxnRequest): Refusal {
    for (const { key, rangeEnd } of compare) {
      const refusal = this.#auth.refuseRead(identity, key, rangeEnd);
      if (refusal !== undefined) return refusal;
    }
    return this.#refuseOps(identity, success) ?? this.#refuseOps(identity, failure);
  }

  /** Using, renewing or revoking a lease. */
  refuseLease(identity: RequestIdentity, leaseId: bigint): Refusal {
    if (leaseId === 0n || this.#auth.refuseAdmin(identity) === undefined) return undefined;
    for (const key of this.#leases.keysOf(leaseId)) {
      const refusal = this.#auth.refuseWrite(identity, key, EMPTY_BYTES);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** Being told about these keys, or that leases with them exist. */
  refuseKeys(identity: RequestIdentity, keys: Iterable<Uint8Array>): Refusal {
    if (this.#auth.refuseAdmin(identity) === undefined) return undefined;
    for (const key of keys) {
      const refusal = this.#auth.refuseRead(identity, key, EMPTY_BYTES);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #refuseOps(identity: RequestIdentity, ops: readonly RequestOp[]): Refusal {
    for (const op of ops) {
      const refusal = this.#refuseOp(identity, op);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #refuseOp(identity: RequestIdentity, op: RequestOp): Refusal {
    switch (op.kind) {
      case 'range':
        return this.#auth.refuseRead(identity, op.request.key, op.request.rangeEnd);
      case 'put':
        return this.refusePut(identity, op.request);
      case 'deleteRange':
        return this.refuseDelete(identity, op.request);
      case 'txn':
        return this.refuseTxn(identity, op.request);
      default:
        return undefined;
    }
  }
}
