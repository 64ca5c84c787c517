/**
 * The layer of auth: who is named in the entry's header may do what the entry asks for, or nothing is done. It is there
 * while auth is on, and stands between the alarms, which refuse whoever asks, and the quota.
 *
 * Compactions and grants of leases ask for no key: who may make them is decided by the member that proposes them.
 */
import type { CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest } from '../../wire/kv.js';
import type { TxnRequest } from '../../wire/txn.js';
import type { AuthStore } from '../auth/auth-store.js';
import type { KeyRights } from '../auth/key-rights.js';
import type { Layer } from './layers.js';
import type { LeaseGrantRequest, LeaseRevokeRequest } from './leases.js';
import type { ApplyContext, Reply } from './reply.js';

export class AuthLayer implements Layer {
  readonly #next: Layer;
  readonly #auth: AuthStore;
  readonly #rights: KeyRights;

  constructor(next: Layer, auth: AuthStore, rights: KeyRights) {
    this.#next = next;
    this.#auth = auth;
    this.#rights = rights;
  }

  range(request: RangeRequest, context: ApplyContext): Reply | undefined {
    const error = this.#auth.refuseRead(context.identity, request.key, request.rangeEnd);
    return error === undefined ? this.#next.range(request, context) : { error };
  }

  put(request: PutRequest, context: ApplyContext): Reply | undefined {
    const error = this.#rights.refusePut(context.identity, request);
    return error === undefined ? this.#next.put(request, context) : { error };
  }

  deleteRange(request: DeleteRangeRequest, context: ApplyContext): Reply | undefined {
    const error = this.#rights.refuseDelete(context.identity, request);
    return error === undefined ? this.#next.deleteRange(request, context) : { error };
  }

  txn(request: TxnRequest, context: ApplyContext): Reply | undefined {
    const error = this.#rights.refuseTxn(context.identity, request);
    return error === undefined ? this.#next.txn(request, context) : { error };
  }

  compact(request: CompactionRequest, context: ApplyContext): Reply | undefined {
    return this.#next.compact(request, context);
  }

  leaseGrant(request: LeaseGrantRequest, context: ApplyContext): Reply | undefined {
    return this.#next.leaseGrant(request, context);
  }

  leaseRevoke(request: LeaseRevokeRequest, context: ApplyContext): Reply | undefined {
    const error = this.#rights.refuseLease(context.identity, request.ID);
    return error === undefined ? this.#next.leaseRevoke(request, context) : { error };
  }
}
