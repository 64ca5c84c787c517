/**
 * Maintenance calls that concern the member as a whole, and the upkeep that a member does by itself.
 *
 *     MoveLeader     at the leader only: hands over, answers when the target is seen leading
 *     Hash           sliced, among the HashKVs
 *     Downgrade      confirmed read -> checks -> DowngradeInfoSet entry (not for VALIDATE)
 *     Defragment     defragmentation.ts
 *     by itself      auto-compaction.ts, corruption-check.ts and compact-hash-check.ts
 *
 * Invariant (B2): every request leaves once: answered, failed or cancelled.
 */

import { EMPTY_BYTES } from '../base/bytes.js';
import { Histogram } from '../transport/metric-cells.js';
import { encodeConfState } from '../wire/conf-state.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import { encodeInternalRequest, InternalField } from '../wire/internal.js';
import { Method } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import { AlarmAction, AlarmType } from './apply/alarms.js';
import type { AutoCompaction } from './auto-compaction.js';
import type { CompactHashCheck } from './compact-hash-check.js';
import type { CorruptionCheck } from './corruption-check.js';
import type { Defragmentation } from './defragmentation.js';
import type { HostLink } from './host-link.js';
import { downgradeTargetOf, parseTargetVersion } from './membership/downgrade.js';
import type { OpenMember } from './open.js';
import type { PeerCalls } from './peer-calls.js';
import type { PeerLinks } from './peer-links.js';
import type { Proposals } from './proposals.js';
import { ownRequest } from './publisher.js';
import { EntryType, type MemberId } from './raft/types.js';
import { rare } from './rare.js';
import type { Read, Reads } from './reads.js';

export interface MaintenanceContext {
  readonly host: HostLink;
  readonly peers: PeerLinks;
  readonly calls: PeerCalls;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly open: OpenMember;
  readonly idMember: number;
  readonly requestTimeoutMs: number;
}

const DowngradeAction = { Validate: 0, Enable: 1, Cancel: 2 } as const;

interface Transfer {
  readonly requestId: number;
  readonly target: MemberId;
  readonly startedMs: number;
}

export class Maintenance {
  readonly #context: MaintenanceContext;
  #defragmentation: Defragmentation | undefined;
  #autoCompaction: AutoCompaction | undefined;
  #corruption: CorruptionCheck | undefined;
  #compactHashes: CompactHashCheck | undefined;
  #transfers: Transfer[] = [];
  readonly #hashes = new Set<number>();
  #nowMs = 0;

  constructor(context: MaintenanceContext) {
    this.#context = context;
    const { corruptCheckIntervalMs, initialCorruptCheck, compactHashCheckIntervalMs } = context.open.boot.settings;
    if (corruptCheckIntervalMs > 0 || initialCorruptCheck) this.#checkCorruption();
    if (compactHashCheckIntervalMs > 0) this.#checkCompactHashes();
  }

  /** False while the check at start is not over: the member is not announced as ready. */
  get mayServe(): boolean {
    return this.#corruption?.passedInitial ?? true;
  }

  /** A request of the host. Returns an error that is known at once. Throws ProtoError. */
  open(method: number, requestId: number, payload: Uint8Array, nowMs: number): EtcdErrorCode | undefined {
    switch (method) {
      case Method.MoveLeader:
        return this.#moveLeader(requestId, decode('etcdserverpb.MoveLeaderRequest', payload).targetID, nowMs);
      case Method.Hash:
        decode('etcdserverpb.HashRequest', payload);
        this.#hash(requestId);
        return undefined;
      case Method.Downgrade:
        return this.#downgrade(requestId, payload);
      case Method.Defragment:
        decode('etcdserverpb.DefragmentRequest', payload);
        this.#defragment().request(requestId);
        return undefined;
      default:
        return ErrorCode.UnknownMethod;
    }
  }

  /** A confirmed read. */
  serve(read: Read): void {
    if (read.method === Method.HashKv) {
      this.#corruption?.confirmed();
      return;
    }
    const error = this.#serveDowngrade(read);
    if (error !== undefined) this.#context.host.end(read.requestId, error);
  }

  /** A read of this member's own that could not be confirmed. */
  readFailed(): void {
    this.#corruption?.unconfirmed();
  }

  /** Another member asks for a hash: of a revision, or (KvCompact) the one that a compaction took. */
  peerCall(from: MemberId, method: number, callId: number, payload: Uint8Array): void {
    const check = method === Method.KvCompact ? this.#checkCompactHashes() : this.#checkCorruption();
    check.peerCall(from, callId, payload);
  }

  /** Upkeep that is due, and a slice of a defragmentation. Returns whether there is more to do. */
  turn(nowMs: number): boolean {
    this.#nowMs = nowMs;
    this.#checkTransfers(nowMs);
    this.#compact(nowMs);
    this.#corruption?.turn(nowMs);
    this.#compactHashes?.turn(nowMs);
    return this.#defragmentation?.turn(nowMs) ?? false;
  }

  /** A snapshot replaced the state: what worked on the former one begins again. */
  stateReplaced(): void {
    this.#defragmentation?.stateReplaced();
    this.#corruption?.stateReplaced();
    this.#compactHashes?.stateReplaced();
    const hashes = [...this.#hashes];
    this.#hashes.clear();
    for (const requestId of hashes) this.#hash(requestId);
  }

  /** The client went away: what was begun goes on, but nobody is told. */
  cancel(requestId: number): void {
    this.#transfers = this.#transfers.filter(transfer => transfer.requestId !== requestId);
    this.#hashes.delete(requestId);
    this.#defragmentation?.cancel(requestId);
  }

  /** The member stops. */
  failAll(visit: (requestId: number) => void): void {
    for (const { requestId } of this.#transfers.splice(0)) visit(requestId);
    for (const requestId of this.#hashes) visit(requestId);
    this.#hashes.clear();
    this.#defragmentation?.failAll(visit);
  }

  #moveLeader(requestId: number, target: MemberId, nowMs: number): EtcdErrorCode | undefined {
    const { open, host } = this.#context;
    const { raft, state } = open;
    if (!raft.isLeader) return ErrorCode.NotLeader;
    const member = state.members.get(target);
    if (member === undefined || member.isLearner) return ErrorCode.BadLeaderTransferee;
    host.log('info', 'leadership transfer starting', { 'transferee-member-id': target.toString(16) });
    // As in etcd it is tried once: a target that does not take over is waited for until the time is up.
    raft.transferLeadership(target);
    this.#transfers.push({ requestId, target, startedMs: nowMs });
    this.#checkTransfers(nowMs);
    return undefined;
  }

  #checkTransfers(nowMs: number): void {
    if (this.#transfers.length === 0) return;
    const { host, open, requestTimeoutMs } = this.#context;
    this.#transfers = this.#transfers.filter(({ requestId, target, startedMs }) => {
      if (open.raft.leader === target) host.reply(requestId, EMPTY_BYTES);
      else if (nowMs - startedMs >= requestTimeoutMs) host.end(requestId, ErrorCode.TimeoutLeaderTransfer);
      else return true;
      return false;
    });
  }

  #hash(requestId: number): void {
    const { host, open } = this.#context;
    this.#hashes.add(requestId);
    const { applier } = open.state;
    const beganMs = performance.now();
    applier.hashBackend(encodeConfState(open.raft.confState), hash => {
      // A hash of a state that was replaced meanwhile is nobody's: it was asked for again.
      if (open.state.applier !== applier || !this.#hashes.delete(requestId)) return;
      open.cells.observe(Histogram.hash, (performance.now() - beganMs) / 1_000);
      host.reply(requestId, applier.hashReply(hash, open.raft.term));
    });
  }

  #downgrade(requestId: number, payload: Uint8Array): EtcdErrorCode | undefined {
    const { action, version } = decode('etcdserverpb.DowngradeRequest', payload);
    if (action < DowngradeAction.Validate || action > DowngradeAction.Cancel) return ErrorCode.UnknownMethod;
    if (action !== DowngradeAction.Cancel && parseTargetVersion(version) === undefined) {
      return ErrorCode.WrongDowngradeVersionFormat;
    }
    this.#context.reads.add({ requestId, method: Method.Downgrade, payload: Buffer.from(payload) });
    return undefined;
  }

  #serveDowngrade({ requestId, payload }: Read): EtcdErrorCode | undefined {
    const { host, open } = this.#context;
    const { action, version } = decode('etcdserverpb.DowngradeRequest', payload);
    const { clusterVersion, downgrade } = open.state.members;
    if (action === DowngradeAction.Cancel) {
      if (downgrade.enabled) this.#proposeDowngrade(requestId, { enabled: false, ver: '' });
      else host.reply(requestId, open.state.applier.downgradeReply(open.raft.term));
      return undefined;
    }
    if (clusterVersion === undefined) return ErrorCode.ClusterVersionUnavailable;
    const target = parseTargetVersion(version);
    if (target !== downgradeTargetOf(clusterVersion)) return ErrorCode.InvalidDowngradeTargetVersion;
    if (downgrade.enabled) return ErrorCode.DowngradeInProcess;
    if (action === DowngradeAction.Enable) this.#proposeDowngrade(requestId, { enabled: true, ver: target });
    else host.reply(requestId, open.state.applier.downgradeReply(open.raft.term));
    return undefined;
  }

  #proposeDowngrade(requestId: number, info: { readonly enabled: boolean; readonly ver: string }): void {
    this.#propose(InternalField.DowngradeInfoSet, encode('membershippb.DowngradeInfoSetRequest', info), requestId);
  }

  /** Auto-compaction. Like what a leader says of leases it is never queued or forwarded. */
  #compact(nowMs: number): void {
    const { host, open, idMember, proposals } = this.#context;
    const { raft, state, boot } = open;
    if (boot.settings.autoCompaction.retention <= 0) return;
    const { currentRevision, compactRevision } = state.applier.mvcc;
    this.#autoCompaction ??= new (rare.autoCompaction().AutoCompaction)(boot.settings.autoCompaction);
    const revision = this.#autoCompaction.turn({ nowMs, currentRevision, compactRevision, leads: raft.isLeader });
    if (revision === undefined) return;
    host.log('info', 'starting auto compaction', { revision });
    const request = encode('etcdserverpb.CompactionRequest', { revision });
    const data = encodeInternalRequest(InternalField.Compaction, request, idMember, proposals.nextCounter());
    raft.propose([{ type: EntryType.Normal, data }]);
  }

  #defragment(): Defragmentation {
    this.#defragmentation ??= new (rare.defragmentation().Defragmentation)(this.#context.host, this.#context.open);
    return this.#defragmentation;
  }

  #checkCompactHashes(): CompactHashCheck {
    const context = { ...this.#context, raise: (id: MemberId) => this.#raiseCorrupt(id) };
    this.#compactHashes ??= new (rare.compactHashCheck().CompactHashCheck)(context);
    return this.#compactHashes;
  }

  #checkCorruption(): CorruptionCheck {
    const context = { ...this.#context, raise: (id: MemberId) => this.#raiseCorrupt(id) };
    this.#corruption ??= new (rare.corruptionCheck().CorruptionCheck)(context);
    return this.#corruption;
  }

  #raiseCorrupt(memberID: MemberId): void {
    const request = { action: AlarmAction.Activate, memberID, alarm: AlarmType.Corrupt };
    this.#propose(InternalField.Alarm, encode('etcdserverpb.AlarmRequest', request), ownRequest);
  }

  #propose(field: InternalField, request: Uint8Array, requestId: number): void {
    const { idMember, proposals } = this.#context;
    const counter = proposals.nextCounter();
    const data = encodeInternalRequest(field, request, idMember, counter);
    proposals.add(counter, data, { requestId, method: 0, startedMs: this.#nowMs });
  }
}
