/**
 * An applier driven as a member drives it: requests are checked, put into entries of a log and applied, or read at
 * once.
 *
 * The log survives crashes: what the state store lost is applied again, as after a restart.
 */
import assert from 'node:assert/strict';
import { Applier, type ApplierStorage } from '../../src/member/apply/applier.js';
import { checkDeleteRange, checkPut, checkRange, checkTxn, isReadOnly } from '../../src/member/apply/check.js';
import type { Reply } from '../../src/member/apply/reply.js';
import { encodeLeaseRecord, leaseKey } from '../../src/member/lease/lease-record.js';
import type { KvHash } from '../../src/member/mvcc/hash.js';
import type { Entry } from '../../src/member/raft/types.js';
import {
  decodeInternalRequest,
  encodeInternalRequest,
  InternalField,
  newInternalRequest,
  type RequestIdentity,
} from '../../src/wire/internal.js';
import { decodeDeleteRangeRequest, decodePutRequest, decodeRangeRequest } from '../../src/wire/kv.js';
import { decodeTxnRequest } from '../../src/wire/txn.js';
import { decodeMessage } from './messages.js';

export interface SubjectStore extends ApplierStorage {
  readonly appliedIndex: number;
  commit(): void;
}

export interface SubjectOptions {
  /** Leases that the store holds from the beginning, without an entry that grants them. */
  readonly leases?: readonly bigint[];
  readonly quotaBackendBytes?: number;
  readonly memberId?: bigint;
}

export const subjectTerm = 7;
export const subjectClusterId = 0xc1n;

const fields = {
  Put: InternalField.Put,
  DeleteRange: InternalField.DeleteRange,
  Txn: InternalField.Txn,
  Compact: InternalField.Compaction,
  Alarm: InternalField.Alarm,
} as const;

export class KvSubject<Store extends SubjectStore = SubjectStore> {
  readonly log: Entry[];
  readonly #options: SubjectOptions;
  store: Store;
  applier: Applier;

  constructor(store: Store, options: SubjectOptions = {}, log: Entry[] = []) {
    this.#options = options;
    this.store = store;
    this.log = log;
    this.applier = this.#open();
    this.#replay();
  }

  /** Reopens over `store`, as it was left by the former run, and applies again what it lacks. */
  restart(store: Store): void {
    this.store = store;
    this.applier = this.#open();
    this.#replay();
  }

  /** One request of the KV service; `wanted` as for an applier, reads are always wanted. */
  execute(
    method: 'Range' | 'Put' | 'DeleteRange' | 'Txn' | 'Compact',
    body: Uint8Array,
    wanted = true,
  ): Reply | undefined {
    if (method === 'Range') {
      const request = decodeRangeRequest(body);
      const error = checkRange(request);
      return error === undefined ? this.applier.range(request, subjectTerm) : { error };
    }
    if (method === 'Txn') {
      const request = decodeTxnRequest(body);
      const error = checkTxn(request, 128);
      if (error !== undefined) return { error };
      if (isReadOnly(request)) return this.applier.readTxn(request, subjectTerm);
    }
    if (method === 'Put') {
      const error = checkPut(decodePutRequest(body));
      if (error !== undefined) return { error };
    }
    if (method === 'DeleteRange') {
      const error = checkDeleteRange(decodeDeleteRangeRequest(body));
      if (error !== undefined) return { error };
    }
    return this.propose(fields[method], body, wanted);
  }

  /** `identity`: who asks, as the entry's header says. */
  propose(field: InternalField, body: Uint8Array, wanted = true, identity?: RequestIdentity): Reply | undefined {
    const data = encodeInternalRequest(field, body, 1, this.log.length + 1, identity);
    const entry: Entry = { type: 0, term: subjectTerm, index: this.log.length + 1, data };
    this.log.push(entry);
    return applyEntry(this.applier, entry, wanted);
  }

  /** Runs the background jobs to their end in slices of `recordsMax`. */
  settle(recordsMax = 3): void {
    while (this.applier.background(recordsMax));
  }

  /** The hash of the store itself, not of the cache of compactions. */
  hash(revision: number): KvHash | undefined {
    let found: Uint8Array | undefined;
    const error = this.applier.hashKv(
      revision,
      () => 0,
      response => {
        found = response;
      },
    );
    if (error !== undefined) return undefined;
    while (found === undefined) this.applier.background(2);
    const [hash, compactRevision, hashRevision] = numbersOf(found);
    return { hash: hash ?? 0, compactRevision: compactRevision ?? 0, revision: hashRevision ?? 0 };
  }

  #open(): Applier {
    const { leases = [], quotaBackendBytes = 0, memberId = 0xa1n } = this.#options;
    for (const id of leases) {
      this.store.put('lease', leaseKey(id), encodeLeaseRecord({ id, ttlSeconds: 3600, remainingSeconds: 0 }));
    }
    return new Applier({
      clusterId: subjectClusterId,
      memberId,
      quotaBackendBytes,
      storage: this.store,
      members: {
        clusterVersion: '3.6.0',
        applyAttributes: () => {},
        applyClusterVersion: () => {},
        applyDowngrade: () => {},
      },
      minimumLeaseTtlSeconds: 2,
      authTokenTtlSeconds: 300,
    });
  }

  #replay(): void {
    for (const entry of this.log.slice(this.store.appliedIndex)) applyEntry(this.applier, entry, false);
  }
}

export function applyEntry(applier: Applier, entry: Entry, wanted: boolean): Reply | undefined {
  const request = newInternalRequest();
  decodeInternalRequest(entry.data, request);
  return applier.apply(entry, request, subjectTerm, wanted);
}

function numbersOf(response: Uint8Array): number[] {
  const { hash, compact_revision, hash_revision } = decodeMessage('HashKVResponse', response);
  assert.equal(typeof hash, 'number');
  return [hash, compact_revision, hash_revision].map(Number);
}
