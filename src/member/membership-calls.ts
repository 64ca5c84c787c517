/**
 * Adding, removing, updating and promoting members: check, propose a configuration change, answer when it is applied.
 *
 *     add, remove, update:  strict check here ─> proposal ──> applied ─> answer with the members as they are then
 *     promote:              the leader checks that the learner is in sync; another member asks it by PeerCall
 *
 * A leader takes one configuration change at a time and turns a second one into nothing, without a word (I11); so this
 * member sends one after the other, and as the leader not before it may. What gets lost on the way to another leader
 * stays lost: like etcd's, these calls wait until their client gives up, because a second copy could be a second change.
 *
 * Invariant (B2): every call that enters leaves once: answered, refused, cancelled or by `failAll`.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import { addedMemberId } from '../wire/ids.js';
import { Method } from '../wire/methods.js';
import { canonicalPeerUrls } from '../wire/peer-urls.js';
import { decode, encode } from '../wire/schema.js';
import type { HostLink } from './host-link.js';
import { encodeMemberRecord, encodePromotion } from './membership/member-record.js';
import { type AppliedConfChange, memberMessage } from './membership/members.js';
import { type ClusterView, checkAddition, checkPromotion, checkRemoval } from './membership/strict-check.js';
import type { OpenMember } from './open.js';
import type { PeerCalls } from './peer-calls.js';
import type { PeerLinks } from './peer-links.js';
import type { Proposals } from './proposals.js';
import { encodeConfChange } from './raft/conf-change-codec.js';
import { ConfChangeType, EntryType, type MemberId, NO_MEMBER } from './raft/types.js';

/** A learner may be promoted when it has this much of the leader's log. */
const inSyncRatio = 0.9;

/** How soon a member that said it does not lead is asked once more. */
const askAgainMs = 100;

export interface MembershipContext {
  readonly host: HostLink;
  readonly peers: PeerLinks;
  readonly calls: PeerCalls;
  readonly proposals: Proposals;
  readonly open: OpenMember;
  readonly idMember: number;
  /** The wall clock: it enters a new member's id. */
  readonly unixSeconds: () => number;
}

/** A client of this member, or the member `from` on behalf of one of its own. */
interface Asker {
  readonly requestId: number;
  readonly method: number;
  readonly from?: MemberId;
}

interface Change {
  readonly asker: Asker;
  readonly data: Uint8Array;
  /** When Raft took it. */
  sentMs: number | undefined;
}

interface Promotion {
  readonly requestId: number;
  readonly id: bigint;
  readonly startedMs: number;
  asked: boolean;
}

export class MembershipCalls {
  readonly #context: MembershipContext;
  /** By the low 48 bits of their request id, in the order they came. */
  readonly #changes = new Map<number, Change>();
  readonly #promotions = new Map<number, Promotion>();
  #nowMs = 0;
  #notBeforeMs = 0;

  constructor(context: MembershipContext) {
    this.#context = context;
  }

  /** A call of the host. Returns an error that is known at once; throws ProtoError. */
  open(method: number, requestId: number, payload: Uint8Array, nowMs: number): EtcdErrorCode | undefined {
    this.#nowMs = nowMs;
    const asker = { requestId, method };
    switch (method) {
      case Method.MemberAdd:
        return this.#add(asker, payload);
      case Method.MemberRemove:
        return this.#remove(asker, decode('etcdserverpb.MemberRemoveRequest', payload).ID);
      case Method.MemberUpdate:
        return this.#update(asker, payload);
      default: {
        const { ID: id } = decode('etcdserverpb.MemberPromoteRequest', payload);
        this.#promotions.set(requestId, { requestId, id, startedMs: nowMs, asked: false });
        return undefined;
      }
    }
  }

  /** Another member asks for a promotion, believing that this one leads. */
  peerCall(from: MemberId, callId: number, payload: Uint8Array): void {
    const { ID: id } = decode('etcdserverpb.MemberPromoteRequest', payload);
    const error = this.#promote({ requestId: callId, method: Method.MemberPromote, from }, id);
    if (error !== undefined) this.#context.peers.sendReply(from, callId, error, EMPTY_BYTES);
  }

  /** Hands Raft the next change, if it may take one, and asks the leader for promotions. */
  offer(nowMs: number): void {
    this.#nowMs = nowMs;
    const { raft } = this.#context.open;
    if (this.#promotions.size > 0 && raft.leader !== NO_MEMBER && nowMs >= this.#notBeforeMs) {
      for (const promotion of this.#promotions.values()) if (!promotion.asked) this.#ask(promotion);
    }
    if (this.#changes.size === 0) return;
    const changes = [...this.#changes.values()];
    const next = changes.find(({ sentMs }) => sentMs === undefined);
    if (next === undefined || changes.some(change => this.#isUnderWay(change))) return;
    if (raft.isLeader && raft.confChangePending) return;
    if (raft.propose([{ type: EntryType.ConfChange, data: next.data }]) !== 'dropped') next.sentMs = nowMs;
  }

  /** A configuration change was applied: answers if it was asked for here. */
  applied({ requestId, nodeId, error }: AppliedConfChange): void {
    if (requestId >> 48n !== BigInt(this.#context.idMember)) return;
    const counter = Number(requestId & 0xffff_ffff_ffffn);
    const change = this.#changes.get(counter);
    if (change === undefined) return;
    this.#changes.delete(counter);
    const { asker } = change;
    if (error !== undefined) this.#refuse(asker, error);
    else this.#answer(asker, nodeId);
  }

  /** The client went away: what Raft has not taken is withdrawn. */
  cancel(requestId: number): void {
    this.#promotions.delete(requestId);
    for (const [counter, { asker }] of this.#changes) {
      if (asker.requestId === requestId && asker.from === undefined) this.#changes.delete(counter);
    }
  }

  /**
   * Ends the promotions that found no leader for `timeoutMs`. Changes wait for their clients to give up; those that
   * another member asked for are forgotten, because it has asked again or given up itself.
   */
  expire(nowMs: number, timeoutMs: number): void {
    const error = this.#context.open.raft.leader === NO_MEMBER ? ErrorCode.NoLeader : ErrorCode.Timeout;
    for (const { requestId, startedMs } of this.#promotions.values()) {
      if (nowMs - startedMs < timeoutMs) continue;
      this.#promotions.delete(requestId);
      this.#context.host.end(requestId, error);
    }
    for (const [counter, { asker, sentMs }] of this.#changes) {
      if (asker.from !== undefined && sentMs !== undefined && nowMs - sentMs >= timeoutMs)
        this.#changes.delete(counter);
    }
  }

  /** The member stops. */
  failAll(visit: (requestId: number) => void): void {
    const own = [...this.#changes.values()].filter(({ asker }) => asker.from === undefined);
    const requestIds = [...own.map(({ asker }) => asker.requestId), ...this.#promotions.keys()];
    this.#changes.clear();
    this.#promotions.clear();
    // A promotion this member asks of itself is in both.
    new Set(requestIds).forEach(visit);
  }

  #add(asker: Asker, payload: Uint8Array): EtcdErrorCode | undefined {
    const { peerURLs, isLearner } = decode('etcdserverpb.MemberAddRequest', payload);
    const peerUrls = canonicalPeerUrls(peerURLs);
    if (peerUrls === undefined) return ErrorCode.MemberBadUrls;
    const error = this.#strict(view => checkAddition(view, isLearner));
    if (error !== undefined) return error;
    const id = addedMemberId(peerUrls, this.#context.unixSeconds());
    const type = isLearner ? ConfChangeType.AddLearnerNode : ConfChangeType.AddNode;
    this.#propose(asker, type, id, encodeMemberRecord({ id, name: '', peerUrls, clientUrls: [], isLearner }));
    return undefined;
  }

  #remove(asker: Asker, id: bigint): EtcdErrorCode | undefined {
    const error = this.#strict(view => checkRemoval(view, id));
    if (error === undefined) this.#propose(asker, ConfChangeType.RemoveNode, id, EMPTY_BYTES);
    return error;
  }

  /** etcd takes any text for a URL here and dies of a bad one when it dials it; this refuses what MemberAdd refuses. */
  #update(asker: Asker, payload: Uint8Array): EtcdErrorCode | undefined {
    const { ID: id, peerURLs: peerUrls } = decode('etcdserverpb.MemberUpdateRequest', payload);
    if (canonicalPeerUrls(peerUrls) === undefined) return ErrorCode.MemberBadUrls;
    const record = { id, name: '', peerUrls, clientUrls: [], isLearner: false };
    this.#propose(asker, ConfChangeType.UpdateNode, id, encodeMemberRecord(record));
    return undefined;
  }

  #ask(promotion: Promotion): void {
    const { calls, open } = this.#context;
    const { requestId, id } = promotion;
    promotion.asked = true;
    if (open.raft.isLeader) {
      this.#promotions.delete(requestId);
      const error = this.#promote({ requestId, method: Method.MemberPromote }, id);
      if (error !== undefined) this.#context.host.end(requestId, error);
      return;
    }
    const lost = (): void => {
      promotion.asked = false;
    };
    const refused = (error: EtcdErrorCode): void => {
      if (error === ErrorCode.NotLeader) {
        this.#notBeforeMs = this.#nowMs + askAgainMs;
        lost();
      } else if (this.#promotions.delete(requestId)) this.#context.host.end(requestId, error);
    };
    const answered = (payload: Uint8Array): void => {
      if (!this.#promotions.delete(requestId)) return;
      const { members } = decode('etcdserverpb.MemberPromoteResponse', payload);
      this.#context.host.reply(
        requestId,
        encode('etcdserverpb.MemberPromoteResponse', { header: this.#header(), members }),
      );
    };
    const request = encode('etcdserverpb.MemberPromoteRequest', { ID: id });
    calls.call(open.raft.leader, Method.MemberPromote, request, { answered, refused, lost }, this.#nowMs);
  }

  /** Only the leader knows how far a learner is. */
  #promote(asker: Asker, id: MemberId): EtcdErrorCode | undefined {
    const { raft } = this.#context.open;
    if (!raft.isLeader) return ErrorCode.NotLeader;
    const { progress } = raft.status;
    const learner = progress.find(other => other.id === id);
    if (learner === undefined) return ErrorCode.MemberNotFound;
    const leader = progress.find(other => other.id === raft.id);
    if (learner.match < (leader?.match ?? 0) * inSyncRatio) return ErrorCode.LearnerNotReady;
    const error = this.#strict(checkPromotion);
    if (error === undefined) this.#propose(asker, ConfChangeType.AddNode, id, encodePromotion(id));
    return error;
  }

  #strict(check: (view: ClusterView) => EtcdErrorCode | undefined): EtcdErrorCode | undefined {
    const { open, peers } = this.#context;
    if (!open.boot.settings.strictReconfigCheck) return undefined;
    return check({
      self: open.identity.id,
      members: open.state.members.list(),
      connectedForMs: id => {
        const sinceMs = peers.connectedSinceMs(id);
        return sinceMs === undefined ? undefined : this.#nowMs - sinceMs;
      },
    });
  }

  #propose(asker: Asker, type: ConfChangeType, nodeId: MemberId, context: Uint8Array): void {
    const { idMember, proposals } = this.#context;
    const counter = proposals.nextCounter();
    const id = (BigInt(idMember) << 48n) | BigInt(counter);
    this.#changes.set(counter, { asker, data: encodeConfChange({ id, type, nodeId, context }), sentMs: undefined });
  }

  /** One that was sent and not applied within an election timeout may be lost: it holds nothing up any more. */
  #isUnderWay({ sentMs }: Change): boolean {
    return sentMs !== undefined && this.#nowMs - sentMs < this.#context.open.boot.settings.electionTimeoutMs;
  }

  #refuse({ requestId, from }: Asker, error: EtcdErrorCode): void {
    if (from === undefined) this.#context.host.end(requestId, error);
    else this.#context.peers.sendReply(from, requestId, error, EMPTY_BYTES);
  }

  #answer({ requestId, method, from }: Asker, nodeId: MemberId): void {
    const { host, open, peers } = this.#context;
    const header = this.#header();
    const members = open.state.members.list().map(memberMessage);
    const response = { header, members };
    if (method === Method.MemberAdd) {
      const added = open.state.members.get(nodeId);
      const member = added === undefined ? {} : { member: memberMessage(added) };
      host.reply(requestId, encode('etcdserverpb.MemberAddResponse', { ...response, ...member }));
    } else if (method === Method.MemberRemove) {
      host.reply(requestId, encode('etcdserverpb.MemberRemoveResponse', response));
    } else if (method === Method.MemberUpdate) {
      host.reply(requestId, encode('etcdserverpb.MemberUpdateResponse', response));
    } else {
      const bytes = encode('etcdserverpb.MemberPromoteResponse', response);
      if (from === undefined) host.reply(requestId, bytes);
      else peers.sendReply(from, requestId, 0, bytes);
    }
  }

  /** Membership calls have nothing to do with the store: no revision, as in etcd. */
  #header() {
    const { boot, identity, raft } = this.#context.open;
    return { cluster_id: boot.clusterId, member_id: identity.id, raft_term: BigInt(raft.term) };
  }
}
