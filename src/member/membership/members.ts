/**
 * The member table: who belongs to the cluster, who was removed for ever, and the cluster version.
 *
 *   table members          hex id -> the member's JSON          (member-record.ts)
 *   table membersRemoved   hex id -> "removed"
 *   table cluster          "clusterVersion" -> "3.6.0", "downgrade" -> downgrade.ts
 *
 * All changes come from applied log entries, so every member's table is the same at the same index. The table is read
 * once into memory; every change is written through in the same state transaction as the entry's index.
 * Invariants: an id is a member or removed, never both; a removed id never returns; no two members share a peer URL.
 */
import { assert } from '../../base/assert.js';
import { utf8Decode, utf8Encode } from '../../base/bytes.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import { compareIds, idFromHex, idToHex } from '../../wire/ids.js';
import { decode, type MessageInput } from '../../wire/schema.js';
import { type ConfChange, ConfChangeTransition, ConfChangeType, type MemberId, NO_MEMBER } from '../raft/types.js';
import { type DowngradeInfo, decodeDowngradeInfo, encodeDowngradeInfo, NO_DOWNGRADE } from './downgrade.js';
import { type ChangeContext, decodeMemberRecord, encodeMemberRecord, type MemberRecord } from './member-record.js';

export type MembershipTable = 'members' | 'membersRemoved' | 'cluster';

/** What the member table needs of the state store. */
export interface MembershipStore {
  get(table: MembershipTable, key: Uint8Array): Uint8Array | undefined;
  put(table: MembershipTable, key: Uint8Array, value: Uint8Array): void;
  delete(table: MembershipTable, key: Uint8Array): void;
  list(table: MembershipTable): Iterable<readonly [key: Uint8Array, value: Uint8Array]>;
}

/** What a configuration change entry did. */
export interface AppliedConfChange {
  /** The 64-bit request id of whoever proposed it; 0n for founding entries. */
  readonly requestId: bigint;
  readonly type: ConfChangeType;
  readonly nodeId: MemberId;
  /** Why the change was refused: then nothing changed. */
  readonly error: EtcdErrorCode | undefined;
  /** To be given to raft.applyConfChange in any case; a refused change is one of no node. */
  readonly forRaft: ConfChange;
}

const CLUSTER_VERSION_KEY = utf8Encode('clusterVersion');
const DOWNGRADE_KEY = utf8Encode('downgrade');
const REMOVED = utf8Encode('removed');

export class Members {
  private readonly byId = new Map<MemberId, MemberRecord>();
  private readonly removed = new Set<MemberId>();
  private version: string | undefined;
  private downgradeInfo: DowngradeInfo = NO_DOWNGRADE;

  /** `learnersMax`: etcd's --max-learners; must be the same on all members, since applying depends on it. */
  constructor(
    private readonly store: MembershipStore,
    private readonly learnersMax: number,
  ) {
    for (const [key, value] of store.list('members')) {
      const record = decodeMemberRecord(value)?.member;
      assert(record !== undefined && record.id === idOfKey(key), 'a record of the member table is damaged');
      this.byId.set(record.id, record);
    }
    for (const [key] of store.list('membersRemoved')) this.removed.add(idOfKey(key));
    const version = store.get('cluster', CLUSTER_VERSION_KEY);
    if (version !== undefined) this.version = utf8Decode(version);
    const downgrade = store.get('cluster', DOWNGRADE_KEY);
    if (downgrade !== undefined) this.downgradeInfo = decodeDowngradeInfo(downgrade) ?? NO_DOWNGRADE;
  }

  /** All members, ascending by id. */
  list(): MemberRecord[] {
    return [...this.byId.values()].sort((left, right) => compareIds(left.id, right.id));
  }

  get(id: MemberId): MemberRecord | undefined {
    return this.byId.get(id);
  }

  isRemoved(id: MemberId): boolean {
    return this.removed.has(id);
  }

  /** `major.minor.0`, or undefined until the first leader has decided. */
  get clusterVersion(): string | undefined {
    return this.version;
  }

  /** The downgrade that is on its way, if any. */
  get downgrade(): DowngradeInfo {
    return this.downgradeInfo;
  }

  /** Applies the data of a ConfChange entry, once: validates it against the table, then changes the table. */
  applyConfChange(data: Uint8Array): AppliedConfChange {
    const { id: requestId, type, node_id: nodeId, context } = decode('raftpb.ConfChange', data);
    const changeType = type as ConfChangeType;
    const parsed = context === undefined || context.length === 0 ? undefined : decodeMemberRecord(context);
    if (changeType !== ConfChangeType.RemoveNode) {
      assert(parsed?.member.id === nodeId, 'a configuration change names one member and describes another', { nodeId });
    }
    const error = this.validate(changeType, nodeId, parsed);
    if (error === undefined) this.change(changeType, nodeId, parsed);
    const forRaft: ConfChange = {
      transition: ConfChangeTransition.Auto,
      changes: [{ type: changeType, nodeId: error === undefined ? nodeId : NO_MEMBER }],
    };
    return { requestId, type: changeType, nodeId, error, forRaft };
  }

  /** Why a change cannot be made now, in etcd's order of checks; undefined when it can. */
  validate(type: ConfChangeType, nodeId: MemberId, context: ChangeContext | undefined): EtcdErrorCode | undefined {
    if (this.removed.has(nodeId)) return EtcdErrorCode.MemberNotFound;
    const known = this.byId.get(nodeId);
    if (type === ConfChangeType.RemoveNode) return known === undefined ? EtcdErrorCode.MemberNotFound : undefined;
    const peerUrls = context?.member.peerUrls ?? [];
    if (type === ConfChangeType.UpdateNode) {
      if (known === undefined) return EtcdErrorCode.MemberNotFound;
      return this.anyTaken(peerUrls, nodeId) ? EtcdErrorCode.PeerUrlExist : undefined;
    }
    if (context?.isPromote === true) {
      if (known === undefined) return EtcdErrorCode.MemberNotFound;
      return known.isLearner ? undefined : EtcdErrorCode.MemberNotLearner;
    }
    if (known !== undefined) return EtcdErrorCode.MemberExist;
    if (this.anyTaken(peerUrls, nodeId)) return EtcdErrorCode.PeerUrlExist;
    if (type === ConfChangeType.AddLearnerNode && this.learnerCount() >= this.learnersMax) {
      return EtcdErrorCode.TooManyLearners;
    }
    return undefined;
  }

  /** Applies the body of a ClusterMemberAttrSetRequest: a member published its name and client URLs. */
  applyAttributes(body: Uint8Array): void {
    const { member_ID: id, member_attributes: attributes } = decode('membershippb.ClusterMemberAttrSetRequest', body);
    if (this.removed.has(id)) return;
    const known = this.byId.get(id);
    assert(known !== undefined, 'an unknown member published its attributes', { id });
    this.save({ ...known, name: attributes?.name ?? '', clientUrls: attributes?.client_urls ?? [] });
  }

  /** Applies the body of a ClusterVersionSetRequest. */
  applyClusterVersion(body: Uint8Array): void {
    this.version = decode('membershippb.ClusterVersionSetRequest', body).ver;
    this.store.put('cluster', CLUSTER_VERSION_KEY, utf8Encode(this.version));
  }

  /** Applies the body of a DowngradeInfoSetRequest: a downgrade was enabled or cancelled. */
  applyDowngrade(body: Uint8Array): void {
    const { enabled, ver } = decode('membershippb.DowngradeInfoSetRequest', body);
    this.downgradeInfo = enabled ? { enabled, targetVersion: ver } : NO_DOWNGRADE;
    this.store.put('cluster', DOWNGRADE_KEY, encodeDowngradeInfo(this.downgradeInfo));
  }

  private change(type: ConfChangeType, nodeId: MemberId, context: ChangeContext | undefined): void {
    if (type === ConfChangeType.RemoveNode) {
      this.byId.delete(nodeId);
      this.removed.add(nodeId);
      this.store.delete('members', keyOf(nodeId));
      this.store.put('membersRemoved', keyOf(nodeId), REMOVED);
      return;
    }
    assert(context !== undefined, 'only a removal has no context');
    const known = this.byId.get(nodeId);
    if (known === undefined) {
      this.save({ ...context.member, isLearner: type === ConfChangeType.AddLearnerNode });
    } else if (type === ConfChangeType.UpdateNode) {
      this.save({ ...known, peerUrls: context.member.peerUrls });
    } else {
      this.save({ ...known, isLearner: false });
    }
  }

  private save(member: MemberRecord): void {
    this.byId.set(member.id, member);
    this.store.put('members', keyOf(member.id), encodeMemberRecord(member));
  }

  private anyTaken(peerUrls: readonly string[], byOtherThan: MemberId): boolean {
    for (const member of this.byId.values()) {
      if (member.id !== byOtherThan && member.peerUrls.some(url => peerUrls.includes(url))) return true;
    }
    return false;
  }

  private learnerCount(): number {
    let count = 0;
    for (const member of this.byId.values()) count += member.isLearner ? 1 : 0;
    return count;
  }
}

/** A member as API responses carry it. */
export function memberMessage(member: MemberRecord): MessageInput<'etcdserverpb.Member'> {
  const { id, name, peerUrls, clientUrls, isLearner } = member;
  return { ID: id, name, peerURLs: peerUrls, clientURLs: clientUrls, isLearner };
}

function keyOf(id: MemberId): Uint8Array {
  return utf8Encode(idToHex(id));
}

function idOfKey(key: Uint8Array): MemberId {
  const id = idFromHex(utf8Decode(key) ?? '');
  assert(id !== undefined, 'a key of the member table is not a hexadecimal id');
  return id;
}

/** For the log; the names of the types are raftpb's. */
export function confChangeFields({ type, nodeId, error }: AppliedConfChange): Record<string, string | boolean> {
  const name = Object.keys(ConfChangeType).find(key => ConfChangeType[key as keyof typeof ConfChangeType] === type);
  return {
    'raft-conf-change': `ConfChange${name}`,
    'raft-conf-change-node-id': nodeId.toString(16),
    refused: error !== undefined,
  };
}
