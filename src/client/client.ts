/**
 * The typed client: the same calls whatever carries them (see Channel).
 *
 *     await client.put('greeting', 'hello');
 *     (await client.get('greeting'))?.value;                 // 'hello'
 *     await client.getAll({ prefix: 'users/' });             // { kvs, count, more, revision }
 *     await client.delete({ prefix: 'users/' });             // { deleted, previous, revision }
 *     for await (const event of client.watch({ prefix: 'users/' })) console.log(event.type, event.kv.key);
 *     const lease = await client.lease({ ttlSeconds: 10 });  // kept alive; lease.lost, lease.revoke()
 *     await using lock = await client.lock('jobs/nightly');  // lock.lost, lock.unlock()
 *     await client.election('scheduler').campaign('host-7'); // leadership.lost, proclaim(value), resign()
 *
 * Keys and values go in as text (UTF-8) or bytes. Every call takes
 * `signal` and `timeoutMs`, and rejects with EtcdError, whose message is etcd's own text, or with the signal's reason.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { Method } from '../wire/methods.js';
import { decode, encode, type Message } from '../wire/schema.js';
import { Auth, Roles, Users } from './auth.js';
import type { CallOptions, Channel } from './channel.js';
import { Election } from './election.js';
import { LeaseKeeper } from './keep-alive.js';
import {
  grantLease,
  Lease,
  type LeaseGrant,
  type LeaseOptions,
  type LeaseTimeToLive,
  leaseTimeToLive,
  listLeases,
  revokeLease,
  type TimeToLiveOptions,
} from './lease.js';
import { Lock, type LockOptions } from './lock.js';
import type { Bytes, Range } from './ranges.js';
import {
  type DeleteOptions,
  encodeDelete,
  encodePut,
  encodeRange,
  type GetOptions,
  type LeaseRef,
  leaseIdOf,
  type PutOptions,
  type RangeOptions,
} from './requests.js';
import {
  type DeleteResult,
  decodeDeleteResult,
  decodePutResult,
  decodeRangeResult,
  type KeyValue,
  type PutResult,
  type RangeResult,
} from './results.js';
import { readSnapshot, type SnapshotPiece } from './snapshot.js';
import { decodeTxnResult, encodeTxn, type Transaction, type TxnResult } from './transaction.js';
import { Watch, type WatchOptions } from './watch.js';

export type { Auth, AuthStatus, Permission, PermissionType, Roles, Users } from './auth.js';
export { type CallOptions, type Channel, EtcdError } from './channel.js';
export type { CampaignOptions, Election, Leadership } from './election.js';
export { ClosedError, CompactedError, LeaseLostError } from './errors.js';
export { OwnershipLostError } from './holding.js';
export type { Lease, LeaseGrant, LeaseOptions, LeaseTimeToLive, TimeToLiveOptions } from './lease.js';
export type { Lock, LockOptions } from './lock.js';
export type { Bytes, Range } from './ranges.js';
export type { DeleteOptions, GetOptions, LeaseRef, PutOptions, RangeOptions } from './requests.js';
export { type DeleteResult, KeyValue, type PutResult, type RangeResult, type ResponseHeader } from './results.js';
export type { SnapshotPiece } from './snapshot.js';
export type { Comparison, Operation, OperationResult, Transaction, TxnResult } from './transaction.js';
export type { Watch, WatchBatch, WatchOptions } from './watch.js';
export type { WatchEvent } from './watch-messages.js';

export interface CompactOptions extends CallOptions {
  /** Answer only when the history is really gone. */
  readonly physical?: boolean;
}

export interface MemberListOptions extends CallOptions {
  /** Answer from the member asked, without a round to the quorum. */
  readonly serializable?: boolean;
}

export interface MemberAddOptions extends CallOptions {
  /** It gets everything and votes on nothing until it is promoted. */
  readonly learner?: boolean;
}

/** One member's own view of itself. */
export interface MemberStatus {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** 0n: it knows no leader. */
  readonly leader: bigint;
  readonly isLearner: boolean;
  /** Of the etcd it stands in for, e.g. `3.6.14`. */
  readonly version: string;
  readonly storageVersion: string;
  readonly revision: number;
  readonly raftTerm: number;
  readonly raftIndex: number;
  readonly raftAppliedIndex: number;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  readonly dbSizeQuotaBytes: number;
  /** Alarms, and that there is no leader, in etcd's words. */
  readonly errors: readonly string[];
}

export interface Member {
  readonly id: bigint;
  /** Empty until the member has started once. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

export class EtcdClient {
  /** What carries the calls. */
  readonly channel: Channel;
  /** Users, roles and auth as a whole; see auth.ts. */
  readonly auth: Auth;
  readonly user: Users;
  readonly role: Roles;
  readonly #keeper: LeaseKeeper;

  constructor(channel: Channel) {
    this.channel = channel;
    this.auth = new Auth(channel);
    this.user = new Users(channel);
    this.role = new Roles(channel);
    this.#keeper = new LeaseKeeper(channel);
  }

  /** Writes one key; resolves when a quorum has it on disk. */
  async put(key: Bytes, value: Bytes, options?: PutOptions): Promise<PutResult> {
    return decodePutResult(await this.channel.unary(Method.KvPut, encodePut(key, value, options), options));
  }

  /** The key's present value, or undefined when it does not exist. */
  async get(key: Bytes, options?: GetOptions): Promise<KeyValue | undefined> {
    const response = await this.channel.unary(Method.KvRange, encodeRange(key, options), options);
    return decodeRangeResult(response).kvs[0];
  }

  /** Every key of a range, by default ascending by key. */
  async getAll(range: Range, options?: RangeOptions): Promise<RangeResult> {
    return decodeRangeResult(await this.channel.unary(Method.KvRange, encodeRange(range, options), options));
  }

  /** Deletes a key or a range; deleting what is not there is no error. */
  async delete(range: Range, options?: DeleteOptions): Promise<DeleteResult> {
    return decodeDeleteResult(await this.channel.unary(Method.KvDeleteRange, encodeDelete(range, options), options));
  }

  /** Compares and acts in one step; see transaction.ts for the form. */
  async txn(transaction: Transaction, options?: CallOptions): Promise<TxnResult> {
    return decodeTxnResult(await this.channel.unary(Method.KvTxn, encodeTxn(transaction), options));
  }

  /** The changes of a key or range, from now or from `startRevision` on; see watch.ts. */
  watch(range: Range, options: WatchOptions = {}): Watch {
    return new Watch(this.channel, range, options);
  }

  /** Grants a lease and keeps it alive until it is revoked, released or lost; see lease.ts. */
  lease(options: LeaseOptions): Promise<Lease> {
    return Lease.grant(this.channel, this.#keeper, options);
  }

  /** Grants a lease that nobody keeps alive. */
  leaseGrant(options: LeaseOptions): Promise<LeaseGrant> {
    return grantLease(this.channel, options, options);
  }

  /** Ends a lease: its keys are deleted. */
  leaseRevoke(lease: LeaseRef, options?: CallOptions): Promise<void> {
    return revokeLease(this.channel, leaseIdOf(lease), options);
  }

  /** What is left of a lease; undefined: there is no such lease. */
  leaseTimeToLive(lease: LeaseRef, options?: TimeToLiveOptions): Promise<LeaseTimeToLive | undefined> {
    return leaseTimeToLive(this.channel, leaseIdOf(lease), options);
  }

  /** The ids of all leases. */
  leases(options?: CallOptions): Promise<bigint[]> {
    return listLeases(this.channel, options);
  }

  /** Waits for a lock and holds it until it is unlocked or lost; see lock.ts. */
  lock(name: Bytes, options: LockOptions = {}): Promise<Lock> {
    return Lock.acquire(this, name, options);
  }

  /** An election to campaign in or to observe; see election.ts. */
  election(name: Bytes): Election {
    return new Election(this, name);
  }

  /** Drops the history before `revision`. */
  async compact(revision: number, options?: CompactOptions): Promise<void> {
    const request = encode('etcdserverpb.CompactionRequest', { revision, physical: options?.physical ?? false });
    await this.channel.unary(Method.KvCompact, request, options);
  }

  /** What the member that is asked says of itself; answered without a leader too. */
  async status(options?: CallOptions): Promise<MemberStatus> {
    const response = await this.channel.unary(Method.Status, EMPTY_BYTES, options);
    const { header, ...status } = decode('etcdserverpb.StatusResponse', response);
    return {
      clusterId: header?.cluster_id ?? 0n,
      memberId: header?.member_id ?? 0n,
      leader: status.leader,
      isLearner: status.isLearner,
      version: status.version,
      storageVersion: status.storageVersion,
      revision: Number(header?.revision ?? 0n),
      raftTerm: Number(status.raftTerm),
      raftIndex: Number(status.raftIndex),
      raftAppliedIndex: Number(status.raftAppliedIndex),
      dbSizeBytes: Number(status.dbSize),
      dbSizeInUseBytes: Number(status.dbSizeInUse),
      dbSizeQuotaBytes: Number(status.dbSizeQuota),
      errors: status.errors,
    };
  }

  /** A snapshot of the member that is asked, as the pieces of a file that etcd restores; see snapshot.ts. */
  snapshot(options?: CallOptions): AsyncGenerator<SnapshotPiece, void> {
    return readSnapshot(this.channel, options);
  }

  /** The members of the cluster, ascending by id. */
  async memberList(options?: MemberListOptions): Promise<Member[]> {
    const request = encode('etcdserverpb.MemberListRequest', { linearizable: options?.serializable !== true });
    const response = await this.channel.unary(Method.MemberList, request, options);
    return decode('etcdserverpb.MemberListResponse', response).members.map(memberOf);
  }

  /** Adds a member that listens for its peers at these URLs; somebody has to start it. Resolves with it, its id chosen. */
  async memberAdd(peerUrls: readonly string[], options?: MemberAddOptions): Promise<Member> {
    const request = encode('etcdserverpb.MemberAddRequest', {
      peerURLs: peerUrls,
      isLearner: options?.learner === true,
    });
    const response = await this.channel.unary(Method.MemberAdd, request, options);
    const { member } = decode('etcdserverpb.MemberAddResponse', response);
    return memberOf(member as Message<'etcdserverpb.Member'>);
  }

  /** Removes a member for ever. */
  async memberRemove(id: bigint, options?: CallOptions): Promise<void> {
    await this.channel.unary(Method.MemberRemove, encode('etcdserverpb.MemberRemoveRequest', { ID: id }), options);
  }

  /** Replaces a member's peer URLs. */
  async memberUpdate(id: bigint, peerUrls: readonly string[], options?: CallOptions): Promise<void> {
    const request = encode('etcdserverpb.MemberUpdateRequest', { ID: id, peerURLs: peerUrls });
    await this.channel.unary(Method.MemberUpdate, request, options);
  }

  /** Makes a voter of a learner that is in sync with the leader. */
  async memberPromote(id: bigint, options?: CallOptions): Promise<void> {
    await this.channel.unary(Method.MemberPromote, encode('etcdserverpb.MemberPromoteRequest', { ID: id }), options);
  }

  /** Ends every call, watch and lease of a connected client with ClosedError. A cluster's own client ends with it. */
  close(): void {
    this.channel.close?.();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export function createClient(channel: Channel): EtcdClient {
  return new EtcdClient(channel);
}

function memberOf(member: Message<'etcdserverpb.Member'>): Member {
  const { ID: id, name, peerURLs: peerUrls, clientURLs: clientUrls, isLearner } = member;
  return { id, name, peerUrls, clientUrls, isLearner };
}
