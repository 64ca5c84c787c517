/**
 * Layers around the store, each deciding about a request before (or after) the one inside it; etcd's order:
 *
 *   CORRUPT alarm: refuses everything ─> NOSPACE alarm: refuses what adds ─> auth: refuses who may not (auth-layer)
 *      ─> quota: applies, then complains ─> store
 *
 * The alarm layers are there only while their alarm is active, that of auth while auth is on. All members have the same
 * alarms and users at the same entry, so all refuse the same requests. The quota is a member's own affair: it never
 * changes what is stored, only what is answered and that this member raises NOSPACE.
 *
 * A layer returns undefined when the request succeeded and nobody wants the answer.
 */
import { EtcdErrorCode } from '../../wire/errors.js';
import type { ResponseHeaderTemplate } from '../../wire/header.js';
import {
  type CompactionRequest,
  type DeleteRangeRequest,
  encodeCompactionResponse,
  encodeDeleteRangeResponse,
  encodePutResponse,
  type PutRequest,
  type RangeRequest,
} from '../../wire/kv.js';
import { encodeTxnResponse, type TxnRequest } from '../../wire/txn.js';
import type { Background } from '../mvcc/background.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import { applyDeleteRange, applyPut, applyTxn, type LeaseLookup } from '../mvcc/txn.js';
import type { LeaseGrantRequest, LeaseRevokeRequest, LeaseStore } from './leases.js';
import { COST_OF_LEASE_GRANT, costOfPut, costOfTxn, type Quota } from './quota.js';
import type { Reader } from './reader.js';
import type { ApplyContext, Reply } from './reply.js';

export interface Layer {
  range(request: RangeRequest, context: ApplyContext): Reply | undefined;
  put(request: PutRequest, context: ApplyContext): Reply | undefined;
  deleteRange(request: DeleteRangeRequest, context: ApplyContext): Reply | undefined;
  txn(request: TxnRequest, context: ApplyContext): Reply | undefined;
  compact(request: CompactionRequest, context: ApplyContext): Reply | undefined;
  leaseGrant(request: LeaseGrantRequest, context: ApplyContext): Reply | undefined;
  leaseRevoke(request: LeaseRevokeRequest, context: ApplyContext): Reply | undefined;
}

const CORRUPT: Reply = { error: EtcdErrorCode.Corrupt };
const NO_SPACE: Reply = { error: EtcdErrorCode.NoSpace };

export interface StoreParts {
  readonly mvcc: Mvcc;
  readonly background: Background;
  readonly leases: LeaseLookup;
  readonly leaseStore: LeaseStore;
  readonly reader: Reader;
  readonly header: ResponseHeaderTemplate;
}

/** The store itself. */
export class StoreLayer implements Layer {
  readonly #mvcc: Mvcc;
  readonly #background: Background;
  readonly #leases: LeaseLookup;
  readonly #leaseStore: LeaseStore;
  readonly #reader: Reader;
  readonly #header: ResponseHeaderTemplate;

  constructor({ mvcc, background, leases, leaseStore, reader, header }: StoreParts) {
    this.#mvcc = mvcc;
    this.#background = background;
    this.#leases = leases;
    this.#leaseStore = leaseStore;
    this.#reader = reader;
    this.#header = header;
  }

  range(request: RangeRequest, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    return wanted ? this.#reader.range(request, raftTerm) : undefined;
  }

  put(request: PutRequest, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    const outcome = applyPut(this.#mvcc, this.#leases, request, wanted);
    if (typeof outcome === 'number') return { error: outcome };
    return wanted ? { ok: encodePutResponse(this.#header, outcome.revision, raftTerm, outcome.prevKv) } : undefined;
  }

  deleteRange(request: DeleteRangeRequest, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    const { revision, deleted, prevKvs } = applyDeleteRange(this.#mvcc, request, wanted);
    if (!wanted) return undefined;
    return { ok: encodeDeleteRangeResponse(this.#header, revision, raftTerm, deleted, prevKvs) };
  }

  txn(request: TxnRequest, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    const outcome = applyTxn(this.#mvcc, this.#leases, request, wanted);
    if (typeof outcome === 'number') return { error: outcome };
    if (outcome.result === undefined) return undefined;
    return { ok: encodeTxnResponse(this.#header, outcome.revision, raftTerm, outcome.result) };
  }

  compact({ revision, physical }: CompactionRequest, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    const error = this.#background.compact(revision);
    if (error !== undefined) return { error };
    if (!wanted) return undefined;
    if (physical) return { afterCompaction: revision };
    return { ok: encodeCompactionResponse(this.#header, this.#mvcc.currentRevision, raftTerm) };
  }

  leaseGrant(request: LeaseGrantRequest, context: ApplyContext): Reply | undefined {
    return this.#leaseStore.grant(request, context);
  }

  leaseRevoke(request: LeaseRevokeRequest, context: ApplyContext): Reply | undefined {
    return this.#leaseStore.revoke(request, context);
  }
}

/** Applies whatever comes, so that members stay equal, and tells client and `exceeded` that the quota is used up. */
export class QuotaLayer implements Layer {
  readonly #next: Layer;
  readonly #quota: Quota;
  readonly #exceeded: () => void;

  constructor(next: Layer, quota: Quota, exceeded: () => void) {
    this.#next = next;
    this.#quota = quota;
    this.#exceeded = exceeded;
  }

  put(request: PutRequest, context: ApplyContext): Reply | undefined {
    const allowed = this.#quota.allows(costOfPut(request));
    const reply = this.#next.put(request, context);
    return allowed ? reply : this.#refused(reply);
  }

  txn(request: TxnRequest, context: ApplyContext): Reply | undefined {
    const allowed = this.#quota.allows(costOfTxn(request));
    const reply = this.#next.txn(request, context);
    return allowed ? reply : this.#refused(reply);
  }

  leaseGrant(request: LeaseGrantRequest, context: ApplyContext): Reply | undefined {
    const allowed = this.#quota.allows(COST_OF_LEASE_GRANT);
    const reply = this.#next.leaseGrant(request, context);
    return allowed ? reply : this.#refused(reply);
  }

  range(request: RangeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.range(request, context);
  }

  deleteRange(request: DeleteRangeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.deleteRange(request, context);
  }

  compact(request: CompactionRequest, context: ApplyContext): Reply | undefined {
    return this.#next.compact(request, context);
  }

  leaseRevoke(request: LeaseRevokeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.leaseRevoke(request, context);
  }

  /** An error of the request's own goes before that of the quota. */
  #refused(reply: Reply | undefined): Reply {
    if (reply !== undefined && 'error' in reply) return reply;
    this.#exceeded();
    return NO_SPACE;
  }
}

/** While a NOSPACE alarm is active: nothing that adds to the store. */
export class CappedLayer implements Layer {
  readonly #next: Layer;

  constructor(next: Layer) {
    this.#next = next;
  }

  put(): Reply {
    return NO_SPACE;
  }

  txn(request: TxnRequest, context: ApplyContext): Reply | undefined {
    return costOfTxn(request) > 0 ? NO_SPACE : this.#next.txn(request, context);
  }

  range(request: RangeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.range(request, context);
  }

  deleteRange(request: DeleteRangeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.deleteRange(request, context);
  }

  compact(request: CompactionRequest, context: ApplyContext): Reply | undefined {
    return this.#next.compact(request, context);
  }

  leaseGrant(): Reply {
    return NO_SPACE;
  }

  leaseRevoke(request: LeaseRevokeRequest, context: ApplyContext): Reply | undefined {
    return this.#next.leaseRevoke(request, context);
  }
}

/** While a CORRUPT alarm is active: nothing at all. */
export class CorruptLayer implements Layer {
  range(): Reply {
    return CORRUPT;
  }

  put(): Reply {
    return CORRUPT;
  }

  deleteRange(): Reply {
    return CORRUPT;
  }

  txn(): Reply {
    return CORRUPT;
  }

  compact(): Reply {
    return CORRUPT;
  }

  leaseGrant(): Reply {
    return CORRUPT;
  }

  leaseRevoke(): Reply {
    return CORRUPT;
  }
}
