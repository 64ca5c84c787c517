/**
 * Client requests inside a member: check, then propose (writes), wait for a confirmed read (linearizable reads) or
 * answer from the local state (everything else). Replies are encoded here, in the member's thread.
 *
 *     write:  check -> quota -> size -> proposal --applied--> reply
 *     read:   check -> serializable? local : wait for read index -> reply
 *
 * The order of checks is etcd's, because a client sees which one comes first.
 */
import { etcdVersion } from '../base/version.js';
import { type Caller, SERVER_CALLER } from '../transport/caller.js';
import type { MemberSettings } from '../transport/control.js';
import { Histogram } from '../transport/metric-cells.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { encodeInternalRequest, InternalField } from '../wire/internal.js';
import { decodeCompactionRequest, decodeDeleteRangeRequest, decodePutRequest, decodeRangeRequest } from '../wire/kv.js';
import { Method } from '../wire/methods.js';
import { ProtoError } from '../wire/proto.js';
import { decode, encode } from '../wire/schema.js';
import { decodeTxnRequest } from '../wire/txn.js';
import type { AlarmMember } from './apply/alarms.js';
import { checkDeleteRange, checkPut, checkRange, checkTxn, isReadOnly, isSerializable } from './apply/check.js';
import { QUOTA_BYTES_DEFAULT } from './apply/quota.js';
import type { Reply } from './apply/reply.js';
import type { Callers } from './callers.js';
import { CompactionPace } from './compaction-pace.js';
import type { HostLink } from './host-link.js';
import { KeyReads, type ReadOrigin } from './key-reads.js';
import type { LeaseCalls } from './lease-calls.js';
import type { Maintenance } from './maintenance.js';
import { memberMessage } from './membership/members.js';
import type { MembershipCalls } from './membership-calls.js';
import type { OpenMember } from './open.js';
import type { Proposal, Proposals } from './proposals.js';
import { NO_MEMBER } from './raft/types.js';
import { rare } from './rare.js';
import type { Read, Reads } from './reads.js';

/** What requests need of their member. */
export interface RequestContext {
  readonly host: HostLink;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly open: OpenMember;
  readonly idMember: number;
  readonly settings: MemberSettings;
  readonly leases: LeaseCalls;
  readonly membership: MembershipCalls;
  readonly maintenance: Maintenance;
  readonly callers: Callers;
}

export class Requests {
  readonly #context: RequestContext;
  readonly #ids: { cluster_id: bigint; member_id: bigint };
  /** Physical compactions whose records are not yet gone and committed. */
  #compactions: { readonly requestId: number; readonly revision: number }[] = [];
  readonly #pace: CompactionPace;
  /** Hashes that are being computed. */
  readonly #hashes = new Map<number, { readonly revision: bigint }>();
  /** Ranges and transactions that only read. */
  readonly keyReads: KeyReads;

  constructor(context: RequestContext) {
    this.#context = context;
    this.#pace = new CompactionPace(context.open.cells);
    this.keyReads = new KeyReads(context);
    const { boot, identity } = context.open;
    this.#ids = { cluster_id: boot.clusterId, member_id: identity.id };
  }

  /** A request of the host, made by `caller`. `payload` is a view that is valid during the call only. */
  open(method: number, origin: ReadOrigin, payload: Uint8Array, nowMs: number): void {
    const { requestId, caller } = origin;
    try {
      const refusal = this.#context.callers.refuseCall(method, payload, caller);
      const error = refusal ?? this.#dispatch(method, origin, payload, nowMs);
      if (error !== undefined) this.#context.host.end(requestId, error);
    } catch (error) {
      if (!(error instanceof ProtoError)) throw error;
      this.#context.host.end(requestId, EtcdErrorCode.Undecodable, error.message);
    }
  }

  /** A confirmed read: everything that was committed when it arrived is applied here. */
  serve(read: Read): void {
    switch (read.method) {
      case Method.KvRange:
      case Method.KvTxn:
        this.keyReads.serve(read);
        return;
      case Method.MemberList:
        this.#answerMemberList(read.requestId);
        return;
      case Method.AuthPassword:
        this.#context.host.reply(
          read.requestId,
          rare.authCalls().passwordFacts(read.payload, this.#context.open.state.applier.auth),
        );
        return;
      case Method.Downgrade:
      case Method.HashKv:
        this.#context.maintenance.serve(read);
        return;
      default:
        this.#context.leases.serve(read);
    }
  }

  /** A read that could not be confirmed. */
  readFailed(read: Read, error: EtcdErrorCode): void {
    const ofLeases = read.method === Method.LeaseKeepAlive || read.method === Method.LeaseTimeToLive;
    if (ofLeases) this.#context.leases.failed(read, error);
    else if (read.method === Method.HashKv) this.#context.maintenance.readFailed();
    else this.#context.host.end(read.requestId, error);
  }

  /** The entry of a proposal was applied with this outcome. */
  applied({ requestId, authRevision }: Proposal, reply: Reply | undefined): void {
    if (reply === undefined) return;
    if ('afterCompaction' in reply) this.#compactions.push({ requestId, revision: reply.afterCompaction });
    else if (authRevision === undefined) this.#answer(requestId, reply);
    else
      this.#answer(requestId, rare.authCalls().loginReply(reply, authRevision, this.#context.open.state.applier.auth));
  }

  /** A slice of background work and the answers that waited for it. Returns whether there is more to do. */
  background(recordsMax: number): boolean {
    const { state, raft } = this.#context.open;
    const more = this.#pace.step(state.applier, recordsMax);
    const done = this.#compactions.filter(({ revision }) => state.applier.compacted(revision));
    if (done.length === 0) return more;
    // A physical compaction is answered when it is on disk (etcd: after a backend commit).
    state.store.commit();
    this.#compactions = this.#compactions.filter(waiting => !done.includes(waiting));
    for (const { requestId } of done) {
      this.#context.host.reply(requestId, state.applier.compactionReply(raft.term));
    }
    return more;
  }

  /** A snapshot replaced the state: hashes begin again on the new one. */
  stateReplaced(): void {
    for (const [requestId, { revision }] of this.#hashes) {
      const error = this.#hashKv(requestId, revision);
      if (error !== undefined) this.#context.host.end(requestId, error);
    }
    this.#context.maintenance.stateReplaced();
  }

  /** The client went away: a compaction or a hash goes on, but nobody is told. */
  cancel(requestId: number): void {
    this.#compactions = this.#compactions.filter(waiting => waiting.requestId !== requestId);
    this.#hashes.delete(requestId);
    this.keyReads.cancel(requestId);
    this.#context.leases.cancel(requestId);
    this.#context.membership.cancel(requestId);
    this.#context.maintenance.cancel(requestId);
  }

  /** The member stops. */
  failAll(visit: (requestId: number) => void): void {
    this.keyReads.failAll(visit);
    this.#context.leases.failAll(visit);
    this.#context.membership.failAll(visit);
    this.#context.maintenance.failAll(visit);
    for (const { requestId } of this.#compactions) visit(requestId);
    for (const requestId of this.#hashes.keys()) visit(requestId);
    this.#compactions = [];
    this.#hashes.clear();
  }

  /** Returns an error that is known at once. */
  #dispatch(method: number, origin: ReadOrigin, payload: Uint8Array, nowMs: number): EtcdErrorCode | undefined {
    const { requestId, caller } = origin;
    switch (method) {
      case Method.KvRange:
        return this.#range(origin, payload);
      case Method.KvPut:
        return this.#put(requestId, payload, nowMs, caller);
      case Method.KvDeleteRange: {
        const error = checkDeleteRange(decodeDeleteRangeRequest(payload));
        return error ?? this.#propose(InternalField.DeleteRange, requestId, method, payload, nowMs, caller);
      }
      case Method.KvTxn:
        return this.#txn(origin, payload, nowMs);
      case Method.KvCompact:
        // Decoded only to refuse what cannot be: an entry must be readable by every member.
        decodeCompactionRequest(payload);
        return this.#propose(InternalField.Compaction, requestId, method, payload, nowMs, caller);
      case Method.LeaseGrant:
        return this.#leaseGrant(requestId, payload, nowMs, caller);
      case Method.LeaseRevoke:
        decode('etcdserverpb.LeaseRevokeRequest', payload);
        return this.#propose(InternalField.LeaseRevoke, requestId, method, payload, nowMs, caller);
      case Method.LeaseTimeToLive:
        this.#context.leases.timeToLive(requestId, payload, nowMs, caller);
        return undefined;
      case Method.LeaseLeases:
        return this.#answerLeases(requestId, caller);
      case Method.Alarm:
        decode('etcdserverpb.AlarmRequest', payload);
        return this.#propose(InternalField.Alarm, requestId, method, payload, nowMs, caller);
      case Method.MemberList: {
        const { linearizable } = decode('etcdserverpb.MemberListRequest', payload);
        if (linearizable) this.#waitForRead(requestId, method, payload, caller);
        else this.#answerMemberList(requestId);
        return undefined;
      }
      case Method.MemberAdd:
      case Method.MemberRemove:
      case Method.MemberUpdate:
      case Method.MemberPromote:
        return this.#context.membership.open(method, requestId, payload, nowMs);
      case Method.HashKv:
        return this.#hashKv(requestId, decode('etcdserverpb.HashKVRequest', payload).revision);
      case Method.Status:
        this.#answerStatus(requestId);
        return undefined;
      default:
        if (isAuthMethod(method)) return this.#auth(method, requestId, payload, nowMs, caller);
        return this.#context.maintenance.open(method, requestId, payload, nowMs);
    }
  }

  #range(origin: ReadOrigin, payload: Uint8Array): EtcdErrorCode | undefined {
    const request = decodeRangeRequest(payload);
    const error = checkRange(request);
    if (error === undefined) this.keyReads.range(request, payload, origin);
    return error;
  }

  #put(requestId: number, payload: Uint8Array, nowMs: number, caller: Caller | undefined): EtcdErrorCode | undefined {
    const request = decodePutRequest(payload);
    const error = checkPut(request);
    if (error !== undefined) return error;
    if (!this.#context.open.state.applier.admitsPut(request)) return EtcdErrorCode.NoSpace;
    return this.#propose(InternalField.Put, requestId, Method.KvPut, payload, nowMs, caller);
  }

  #txn(origin: ReadOrigin, payload: Uint8Array, nowMs: number): EtcdErrorCode | undefined {
    const { requestId, caller } = origin;
    const request = decodeTxnRequest(payload);
    const error = checkTxn(request, this.#context.settings.maxTxnOps);
    if (error !== undefined) return error;
    if (!this.#context.open.state.applier.admitsTxn(request)) return EtcdErrorCode.NoSpace;
    if (!isReadOnly(request)) return this.#propose(InternalField.Txn, requestId, Method.KvTxn, payload, nowMs, caller);
    this.keyReads.txn(request, isSerializable(request), payload, origin);
    return undefined;
  }

  /** Without an id the member chooses one, as etcd does: its request ids are unique, and positive without the sign. */
  #leaseGrant(
    requestId: number,
    payload: Uint8Array,
    nowMs: number,
    caller: Caller | undefined,
  ): EtcdErrorCode | undefined {
    const { idMember, open, proposals } = this.#context;
    const request = decode('etcdserverpb.LeaseGrantRequest', payload);
    if (!open.state.applier.admitsLeaseGrant()) return EtcdErrorCode.NoSpace;
    let { ID } = request;
    while (ID === 0n) ID = BigInt.asUintN(63, (BigInt(idMember) << 48n) | BigInt(proposals.nextCounter()));
    const body = ID === request.ID ? payload : encode('etcdserverpb.LeaseGrantRequest', { ...request, ID });
    return this.#propose(InternalField.LeaseGrant, requestId, Method.LeaseGrant, body, nowMs, caller);
  }

  /** Who may not read the keys of every lease is told of none, as in etcd. */
  #answerLeases(requestId: number, caller: Caller | undefined): EtcdErrorCode | undefined {
    const { callers, host, open } = this.#context;
    const { lessor, mvcc } = open.state.applier;
    const ids = lessor.list();
    const refusal = callers.refuse(caller, (_auth, rights, identity) => {
      if (identity.username === '') return EtcdErrorCode.UserEmpty;
      const slots = ids.flatMap(id => lessor.slotsOf(id));
      return rights.refuseKeys(
        identity,
        slots.map(slot => mvcc.index.table.key(slot)),
      );
    });
    if (refusal !== undefined) return refusal;
    const leases = ids.map(ID => ({ ID }));
    host.reply(requestId, encode('etcdserverpb.LeaseLeasesResponse', { header: this.#header(), leases }));
    return undefined;
  }

  /** A call of the Auth service, or of the host's part of it. */
  #auth(
    method: number,
    requestId: number,
    payload: Uint8Array,
    nowMs: number,
    caller: Caller | undefined,
  ): EtcdErrorCode | undefined {
    if (method === Method.AuthPassword) {
      if (caller !== SERVER_CALLER) return EtcdErrorCode.UnknownMethod;
      this.#waitForRead(requestId, method, payload, caller);
      return undefined;
    }
    const proposal = rare.authCalls().authProposal(method, payload, caller);
    if (typeof proposal === 'number') return proposal;
    const { field, body, authRevision } = proposal;
    // A login is nobody's yet: the password was its right.
    const asker = method === Method.Authenticate ? undefined : caller;
    return this.#propose(field, requestId, method, body, nowMs, asker, authRevision);
  }

  #header() {
    const { raft, state } = this.#context.open;
    return { ...this.#ids, revision: BigInt(state.applier.currentRevision), raft_term: BigInt(raft.term) };
  }

  #propose(
    field: InternalField,
    requestId: number,
    method: number,
    payload: Uint8Array,
    nowMs: number,
    caller: Caller | undefined,
    authRevision?: number,
  ): EtcdErrorCode | undefined {
    const { callers, proposals, idMember, settings } = this.#context;
    const identity = callers.identityOf(caller);
    if (typeof identity === 'number') return identity;
    const counter = proposals.nextCounter();
    const data = encodeInternalRequest(field, payload, idMember, counter, identity);
    if (data.length > settings.maxRequestBytes) return EtcdErrorCode.RequestTooLarge;
    proposals.add(counter, data, { requestId, method, startedMs: nowMs, authRevision });
    return undefined;
  }

  #waitForRead(requestId: number, method: number, payload: Uint8Array, caller: Caller | undefined): void {
    this.#context.reads.add({ requestId, method, payload: Buffer.from(payload), caller });
  }

  #hashKv(requestId: number, revision: bigint): EtcdErrorCode | undefined {
    const { host, open } = this.#context;
    const hash = { revision };
    this.#hashes.set(requestId, hash);
    const beganMs = performance.now();
    const error = open.state.applier.hashKv(
      Number(revision),
      () => open.raft.term,
      response => {
        if (this.#hashes.get(requestId) !== hash) return;
        this.#hashes.delete(requestId);
        open.cells.observe(Histogram.hashRevision, (performance.now() - beganMs) / 1_000);
        host.reply(requestId, revision < -BigInt(Number.MAX_SAFE_INTEGER) ? named(response, revision) : response);
      },
    );
    if (error !== undefined) this.#hashes.delete(requestId);
    return error;
  }

  #answerMemberList(requestId: number): void {
    const { open, host } = this.#context;
    const header = { ...this.#ids, raft_term: BigInt(open.raft.term) };
    const members = open.state.members.list().map(memberMessage);
    host.reply(requestId, encode('etcdserverpb.MemberListResponse', { header, members }));
  }

  #answerStatus(requestId: number): void {
    const { host, open, settings } = this.#context;
    const { raft, state } = open;
    const response = encode('etcdserverpb.StatusResponse', {
      header: this.#header(),
      version: etcdVersion,
      dbSize: BigInt(state.store.sizeBytes()),
      dbSizeInUse: BigInt(state.store.sizeInUseBytes()),
      dbSizeQuota: BigInt(quotaBytes(settings.quotaBackendBytes)),
      leader: raft.leader,
      raftIndex: BigInt(raft.committedIndex),
      raftTerm: BigInt(raft.term),
      raftAppliedIndex: BigInt(raft.appliedIndex),
      isLearner: state.members.get(raft.id)?.isLearner ?? false,
      storageVersion: state.members.clusterVersion ?? '',
      errors: statusErrors(raft.leader === NO_MEMBER, state.applier.alarms()),
      downgradeInfo: state.members.downgrade,
    });
    host.reply(requestId, response);
  }

  #answer(requestId: number, reply: Reply): void {
    if ('ok' in reply) this.#context.host.reply(requestId, reply.ok);
    else if ('error' in reply) this.#context.host.end(requestId, reply.error, reply.detail);
  }
}

/** Whether a learner answers a call: only what it can say alone. `payload` is undefined for a stream. */
export function servedByLearner(method: number, payload: Uint8Array | undefined): boolean {
  if (method === Method.Status || method === Method.Snapshot) return true;
  if (method !== Method.KvRange || payload === undefined) return false;
  try {
    return decodeRangeRequest(payload).serializable;
  } catch (error) {
    if (!(error instanceof ProtoError)) throw error;
    return true;
  }
}

/** A HashKVResponse that repeats the revision asked for where that is too low for a number. */
function named(response: Uint8Array, revision: bigint): Uint8Array {
  return encode('etcdserverpb.HashKVResponse', {
    ...decode('etcdserverpb.HashKVResponse', response),
    hash_revision: revision,
  });
}

/** What Status reports as the quota: the default made explicit. */
function quotaBytes(setting: number): number {
  return setting === 0 ? QUOTA_BYTES_DEFAULT : setting;
}

/** StatusResponse.errors in etcd's words; the blank at the end of an alarm is part of them. */
function statusErrors(leaderless: boolean, alarms: readonly AlarmMember[]): string[] {
  const errors = leaderless ? ['etcdserver: no leader'] : [];
  for (const { memberID, alarm } of alarms) {
    errors.push(`memberID:${memberID} alarm:${alarmName(alarm)} `);
  }
  return errors;
}

function alarmName(alarm: number): string {
  const names = ['NONE', 'NOSPACE', 'CORRUPT'];
  return names[alarm] ?? String(alarm);
}

/** Whether a call is of the Auth service, or the host's part of it. */
function isAuthMethod(method: number): boolean {
  return (method >= Method.AuthEnable && method <= Method.RoleRevokePermission) || method === Method.AuthPassword;
}
