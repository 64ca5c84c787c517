/**
 * Committed entries become effects here, one after the other, the same on every member (S9).
 *
 *   entry ─> which request is it ─> layers ─> store, alarms, member table ─> reply if somebody here waits
 *         └> applied index: set for every entry, whatever it did, before the next one                          (S1)
 *
 * Effects go into the state store's buffer together with the applied index, so that one commit holds both or neither.
 * An entry that asks for something unknown was never proposed by us: the member must not guess. One whose request
 * cannot be decoded has no effect, on no member: to end all of them, and again after every restart, would help nobody.
 */
import { fail } from '../../base/assert.js';
import type { MemberBoot, MemberSettings } from '../../transport/control.js';
import { MetricCells } from '../../transport/metric-cells.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import { ResponseHeaderTemplate } from '../../wire/header.js';
import { InternalField, type InternalRequest } from '../../wire/internal.js';
import {
  decodeCompactionRequest,
  decodeDeleteRangeRequest,
  decodePutRequest,
  decodeRangeRequest,
  encodeCompactionResponse,
  type PutRequest,
  type RangeRequest,
} from '../../wire/kv.js';
import { ProtoError } from '../../wire/proto.js';
import { decode, encode } from '../../wire/schema.js';
import { decodeTxnRequest, type TxnRequest } from '../../wire/txn.js';
import { type AuthStorage, AuthStore, type AuthTable } from '../auth/auth-store.js';
import { KeyRights } from '../auth/key-rights.js';
import { type LeaseStorage, Lessor } from '../lease/lessor.js';
import { shortVersion } from '../membership/downgrade.js';
import { Background } from '../mvcc/background.js';
import type { KvHash } from '../mvcc/hash.js';
import { Mvcc } from '../mvcc/mvcc.js';
import type { MvccStorage } from '../mvcc/storage.js';
import type { Entry } from '../raft/types.js';
import { rare } from '../rare.js';
import { AlarmAction, type AlarmMember, type AlarmStorage, Alarms, AlarmType } from './alarms.js';
import { AuthLayer } from './auth-layer.js';
import { AuthRequests, isAuthField } from './auth-requests.js';
import type { HashedTable } from './backend-hash.js';
import { CappedLayer, CorruptLayer, type Layer, QuotaLayer, StoreLayer } from './layers.js';
import { LeaseStore } from './leases.js';
import { COST_OF_LEASE_GRANT, costOfPut, costOfTxn, Quota } from './quota.js';
import { Reader } from './reader.js';
import type { ApplyContext, Reply } from './reply.js';

/** What applying needs of the state store beside the key space's part. */
export interface ApplierStorage extends MvccStorage, AlarmStorage, LeaseStorage, AuthStorage {
  get(table: 'meta' | 'auth', key: Uint8Array): Uint8Array | undefined;
  put(table: 'meta' | 'alarm' | 'lease' | AuthTable, key: Uint8Array, value: Uint8Array): void;
  delete(table: 'alarm' | 'lease' | AuthTable, key: Uint8Array): void;
  list(table: HashedTable): [key: Uint8Array, value: Uint8Array][];
  setApplied(index: number, term: number): void;
  sizeBytes(): number;
}

/** What applying needs of the member table: the requests that change it without a configuration change. */
export interface ApplierMembers {
  readonly clusterVersion: string | undefined;
  applyAttributes(body: Uint8Array): void;
  applyClusterVersion(body: Uint8Array): void;
  applyDowngrade(body: Uint8Array): void;
}

export interface ApplierOptions {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** --quota-backend-bytes: 0 the default, negative none. */
  readonly quotaBackendBytes: number;
  readonly storage: ApplierStorage;
  readonly members: ApplierMembers;
  readonly minimumLeaseTtlSeconds: number;
  /** Where is counted; default: for nobody. */
  readonly cells?: MetricCells;
  /** --auth-token-ttl of simple tokens. */
  readonly authTokenTtlSeconds: number;
}

/** An applier over a member's stores. */
export function createApplier(
  boot: MemberBoot,
  storage: ApplierStorage,
  members: ApplierMembers,
  cells: MetricCells,
): Applier {
  return new Applier({
    clusterId: boot.clusterId,
    memberId: boot.identity.id,
    quotaBackendBytes: boot.settings.quotaBackendBytes,
    storage,
    members,
    minimumLeaseTtlSeconds: minimumLeaseTtlSeconds(boot.settings),
    cells,
    authTokenTtlSeconds: boot.settings.authTokenTtlSeconds,
  });
}

/** One and a half election timeouts, counted in whole ticks and rounded up to seconds as etcd does. */
export function minimumLeaseTtlSeconds({
  electionTimeoutMs,
  heartbeatIntervalMs,
}: Pick<MemberSettings, 'electionTimeoutMs' | 'heartbeatIntervalMs'>): number {
  const electionTicks = Math.floor(electionTimeoutMs / heartbeatIntervalMs);
  return Math.ceil((Math.floor((electionTicks * 3) / 2) * heartbeatIntervalMs) / 1_000);
}

export class Applier {
  readonly mvcc: Mvcc;
  /** Advanced by the turn; promoted and asked what is due while this member leads. */
  readonly lessor: Lessor;
  /** Users, roles and tokens; the turn's time enters by its tokens. */
  readonly auth: AuthStore;
  /** What requests about keys need, for those that are not applied. */
  readonly rights: KeyRights;
  readonly #options: ApplierOptions;
  readonly #leaseStore: LeaseStore;
  readonly #background: Background;
  readonly #reader: Reader;
  readonly #authRequests: AuthRequests;
  readonly #alarms: Alarms;
  readonly #quota: Quota;
  readonly #header: ResponseHeaderTemplate;
  /** The layers without those of auth and alarms, and with them. */
  readonly #base: Layer;
  #top: Layer;
  #wantsNoSpaceAlarm = false;

  constructor(options: ApplierOptions) {
    const { clusterId, memberId, quotaBackendBytes, storage, cells = new MetricCells() } = options;
    this.#options = options;
    this.#header = new ResponseHeaderTemplate(clusterId, memberId);
    const minimumTtlSeconds = options.minimumLeaseTtlSeconds;
    this.lessor = new Lessor({ storage, minimumTtlSeconds, checkpointPersist: true });
    this.mvcc = new Mvcc(storage, this.lessor, cells);
    this.#leaseStore = new LeaseStore(this.mvcc, this.lessor, this.#header, cells);
    this.#background = new Background(this.mvcc);
    this.#reader = new Reader(this.mvcc, this.#header);
    this.auth = new AuthStore(storage, options.authTokenTtlSeconds);
    this.rights = new KeyRights(this.auth, {
      keysOf: id => this.lessor.slotsOf(id).map(slot => this.mvcc.index.table.key(slot)),
    });
    this.#authRequests = new AuthRequests(this.auth, raftTerm => this.#ids(raftTerm));
    this.#alarms = new Alarms(storage);
    this.#quota = new Quota(quotaBackendBytes, () => storage.sizeBytes());
    const store = new StoreLayer({
      mvcc: this.mvcc,
      background: this.#background,
      leases: this.lessor,
      leaseStore: this.#leaseStore,
      reader: this.#reader,
      header: this.#header,
    });
    this.#base = new QuotaLayer(store, this.#quota, () => {
      if (!this.#alarms.has(AlarmType.NoSpace)) this.#wantsNoSpaceAlarm = true;
    });
    this.#top = this.#layers();
  }

  get currentRevision(): number {
    return this.mvcc.currentRevision;
  }

  /** Types (AlarmType) of which an alarm is active, each once. */
  alarmTypes(): number[] {
    return [...new Set(this.alarms().map(({ alarm }) => alarm))];
  }

  /** All active alarms, as Status lists them. */
  alarms(): AlarmMember[] {
    return this.#alarms.list(AlarmType.None);
  }

  /**
   * Whether this member ran out of its quota and has not raised NOSPACE yet. The member then proposes `noSpaceRequest`
   * in an entry with InternalField.Alarm; it turns false when that is applied.
   */
  get wantsNoSpaceAlarm(): boolean {
    return this.#wantsNoSpaceAlarm;
  }

  /** The AlarmRequest that raises NOSPACE for this member. */
  noSpaceRequest(): Uint8Array {
    const { memberId: memberID } = this.#options;
    return encode('etcdserverpb.AlarmRequest', { action: AlarmAction.Activate, memberID, alarm: AlarmType.NoSpace });
  }

  /** Whether the quota admits a put; asked before it is proposed. False: answer NoSpace, and see wantsNoSpaceAlarm. */
  admitsPut(request: PutRequest): boolean {
    return this.#admits(costOfPut(request));
  }

  /** The same for a transaction. */
  admitsTxn(request: TxnRequest): boolean {
    return this.#admits(costOfTxn(request));
  }

  /** The same for the grant of a lease. */
  admitsLeaseGrant(): boolean {
    return this.#admits(COST_OF_LEASE_GRANT);
  }

  /** An entry without effect here: a leader's empty one, or a configuration change that others have applied. */
  applyEmpty(entry: Entry): void {
    this.#options.storage.setApplied(entry.index, entry.term);
  }

  /**
   * Applies an entry that holds a request; `request` is its decoded envelope. `raftTerm` goes into the reply, which is
   * made only when `wanted`; an error is returned in any case.
   */
  apply(entry: Entry, request: InternalRequest, raftTerm: number, wanted: boolean): Reply | undefined {
    let reply: Reply | undefined;
    try {
      reply = this.#dispatch(entry.data, request, { raftTerm, wanted, index: entry.index, identity: request });
    } catch (error) {
      // Requests are decoded as a whole before anything is done.
      if (!(error instanceof ProtoError)) throw error;
      reply = { error: EtcdErrorCode.Undecodable, detail: error.message };
    }
    this.#options.storage.setApplied(entry.index, entry.term);
    return reply;
  }

  /** RangeResponse of the applied state. */
  range(request: RangeRequest, raftTerm: number): Reply {
    return this.#reader.range(request, raftTerm);
  }

  /** TxnResponse of a transaction without writes. */
  readTxn(request: TxnRequest, raftTerm: number): Reply {
    return this.#reader.txn(request, raftTerm);
  }

  /**
   * HashKV at `revision` (0: newest): `done` gets the HashKVResponse, at once or out of a later `background`. Returns
   * why it cannot be answered, if so. `raftTerm` is asked when the answer is made. `fresh`: see Background.
   */
  hashKv(
    revision: number,
    raftTerm: () => number,
    done: (response: Uint8Array) => void,
    fresh = false,
  ): EtcdErrorCode | undefined {
    return this.#background.hashKv(revision, hash => done(this.#reader.hashKv(hash, raftTerm())), fresh);
  }

  /** What the last compactions hashed, oldest first. */
  compactionHashes(): readonly KvHash[] {
    return this.#background.compactionHashes();
  }

  /** HashKVResponse. */
  hashKvReply(hash: KvHash, raftTerm: number): Uint8Array {
    return this.#reader.hashKv(hash, raftTerm);
  }

  /** A slice of compaction or hashing, `recordsMax` records at most. Returns whether there is more to do. */
  background(recordsMax: number): boolean {
    return this.#background.step(recordsMax);
  }

  /** Whether the compaction at `revision` has removed its records. They are on disk after the next commit. */
  compacted(revision: number): boolean {
    return this.mvcc.finishedCompactRevision >= revision;
  }

  /** CompactionResponse, for those who waited for `compacted` and the commit after it. */
  compactionReply(raftTerm: number): Uint8Array {
    return encodeCompactionResponse(this.#header, this.mvcc.currentRevision, raftTerm);
  }

  /** DowngradeResponse: the cluster version as it is now. */
  downgradeReply(raftTerm: number): Uint8Array {
    const { clusterVersion = '' } = this.#options.members;
    return encode('etcdserverpb.DowngradeResponse', {
      header: this.#ids(raftTerm),
      version: shortVersion(clusterVersion),
    });
  }

  /** HashResponse. */
  hashReply(hash: number, raftTerm: number): Uint8Array {
    return encode('etcdserverpb.HashResponse', { header: this.#ids(raftTerm), hash });
  }

  /** Computes HashResponse.hash of the state as it is now; `done` gets it out of a later `background`. */
  hashBackend(confState: Uint8Array, done: (hash: number) => void): void {
    const { BackendHashJob } = rare.backendHash();
    this.#background.hash(new BackendHashJob(this.#options.storage, confState, this.mvcc.currentRevision), done);
  }

  #dispatch(data: Uint8Array, request: InternalRequest, context: ApplyContext): Reply | undefined {
    const { field, bodyStart, bodyEnd } = request;
    switch (field) {
      case InternalField.Put:
        return this.#top.put(decodePutRequest(data, bodyStart, bodyEnd), context);
      case InternalField.Txn:
        return this.#top.txn(decodeTxnRequest(data, bodyStart, bodyEnd), context);
      case InternalField.DeleteRange:
        return this.#top.deleteRange(decodeDeleteRangeRequest(data, bodyStart, bodyEnd), context);
      case InternalField.Range:
        return this.#top.range(decodeRangeRequest(data.subarray(bodyStart, bodyEnd)), context);
      case InternalField.Compaction:
        return this.#top.compact(decodeCompactionRequest(data, bodyStart, bodyEnd), context);
      case InternalField.LeaseGrant:
        return this.#top.leaseGrant(decode('etcdserverpb.LeaseGrantRequest', data, bodyStart, bodyEnd), context);
      case InternalField.LeaseRevoke:
        return this.#top.leaseRevoke(decode('etcdserverpb.LeaseRevokeRequest', data, bodyStart, bodyEnd), context);
      case InternalField.LeaseCheckpoint:
        // No alarm stops it: it only says what the leader's clock has seen.
        return this.#leaseStore.checkpoint(
          decode('etcdserverpb.LeaseCheckpointRequest', data, bodyStart, bodyEnd),
          context,
        );
      case InternalField.Alarm:
        return this.#alarm(data.subarray(bodyStart, bodyEnd), context);
      case InternalField.ClusterVersionSet:
        this.#options.members.applyClusterVersion(data.subarray(bodyStart, bodyEnd));
        return undefined;
      case InternalField.ClusterMemberAttrSet:
        this.#options.members.applyAttributes(data.subarray(bodyStart, bodyEnd));
        return undefined;
      case InternalField.DowngradeInfoSet:
        this.#options.members.applyDowngrade(data.subarray(bodyStart, bodyEnd));
        return context.wanted ? { ok: this.downgradeReply(context.raftTerm) } : undefined;
      case InternalField.DowngradeVersionTest:
        // A version that an etcd test wants to see refused by older servers: nothing is to be done.
        return undefined;
      default:
        if (isAuthField(field)) return this.#administer(data.subarray(bodyStart, bodyEnd), request, context);
        return fail('an entry asks for something that this version does not know', { field });
    }
  }

  #administer(body: Uint8Array, { field }: InternalRequest, context: ApplyContext): Reply | undefined {
    const reply = this.#authRequests.apply(field, body, context);
    this.#top = this.#layers();
    return reply;
  }

  #alarm(body: Uint8Array, { raftTerm, wanted }: ApplyContext): Reply | undefined {
    const { action, memberID, alarm } = decode('etcdserverpb.AlarmRequest', body);
    const member = { memberID, alarm };
    let answered: AlarmMember[] = [];
    if (action === AlarmAction.Get) {
      answered = this.#alarms.list(alarm);
    } else if (action === AlarmAction.Activate && alarm !== AlarmType.None) {
      this.#alarms.activate(member);
      answered = [member];
    } else if (action === AlarmAction.Deactivate && this.#alarms.deactivate(member)) {
      answered = [member];
    }
    this.#top = this.#layers();
    const { memberId } = this.#options;
    if (this.#alarms.isRaised(memberId, AlarmType.NoSpace)) this.#wantsNoSpaceAlarm = false;
    if (!wanted) return undefined;
    return { ok: encode('etcdserverpb.AlarmResponse', { header: this.#ids(raftTerm), alarms: answered }) };
  }

  /** A response header outside the hot path. */
  #ids(raftTerm: number) {
    const { clusterId, memberId } = this.#options;
    return {
      cluster_id: clusterId,
      member_id: memberId,
      revision: BigInt(this.currentRevision),
      raft_term: BigInt(raftTerm),
    };
  }

  #layers(): Layer {
    if (this.#alarms.has(AlarmType.Corrupt)) return new CorruptLayer();
    const base = this.auth.enabled ? new AuthLayer(this.#base, this.auth, this.rights) : this.#base;
    return this.#alarms.has(AlarmType.NoSpace) ? new CappedLayer(base) : base;
  }

  #admits(costBytes: number): boolean {
    if (this.#quota.allows(costBytes)) return true;
    if (!this.#alarms.isRaised(this.#options.memberId, AlarmType.NoSpace)) this.#wantsNoSpaceAlarm = true;
    return false;
  }
}
