/**
 * A member's rings with its peers. Raft messages may be lost on the way (a full ring, a cut link): Raft repairs that.
 * Snapshot chunks and their acknowledgements share the ring and are paced by snapshots.ts.
 *
 * Peers are addressed by member id in messages and by position in the arrays of links.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { Prng } from '../base/prng.js';
import type { MemberBoot } from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { EnvelopeKind } from '../transport/envelope.js';
import { type MessageHandler, Receiver } from '../transport/receiver.js';
import { Sender } from '../transport/sender.js';
import { decodeMessage, MessageEncoder } from './raft/codec.js';
import { type MemberId, type Message, MessageType } from './raft/types.js';

/** What comes from a peer. `payload` is a view that is valid during the call only. */
export interface PeerHandler {
  raft(message: Message): void;
  snapshotChunk(from: MemberId, transferId: number, sequence: number, payload: Uint8Array): void;
  snapshotAck(from: MemberId, transferId: number, sequence: number): void;
  peerCall(from: MemberId, method: number, callId: number, payload: Uint8Array): void;
  peerReply(from: MemberId, callId: number, errorCode: number, payload: Uint8Array): void;
}

interface Peer {
  readonly id: MemberId;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly handle: MessageHandler;
  /** Something was sent that the peer waits for: the next flush rings its bell. */
  urgent: boolean;
  /** The last index this member acknowledged to the peer. */
  acknowledged: number;
}

export class PeerLinks {
  readonly #peers: Peer[] = [];
  readonly #byId = new Map<MemberId, Peer>();
  readonly #encoder = new MessageEncoder();
  readonly #positions = new Map<MemberId, number>();

  /** `handler` hears everything that `drain` takes from the rings. */
  constructor(boot: MemberBoot, handler: PeerHandler) {
    boot.members.forEach((member, position) => {
      this.#positions.set(member.id, position);
      const toPeer = boot.toPeers[position];
      const fromPeer = boot.fromPeers[position];
      const bell = boot.peerDoorbells[position];
      if (toPeer === undefined || fromPeer === undefined || bell === undefined) return;
      const doorbell = new Doorbell(bell);
      const { incarnation } = boot;
      const peer = {
        id: member.id,
        sender: new Sender({ link: toPeer, incarnation, doorbell }),
        receiver: new Receiver({ link: fromPeer, incarnation, doorbell, prng: new Prng(boot.seed + position) }),
        handle: handlerOf(member.id, handler),
        urgent: false,
        acknowledged: -1,
      };
      this.#peers.push(peer);
      this.#byId.set(member.id, peer);
    });
  }

  /** Position of a member in the cluster's list, -1 for none or unknown. */
  positionOf(id: MemberId): number {
    return this.#positions.get(id) ?? -1;
  }

  /** Sends a Raft message; false when it was dropped for want of room or because the member is unknown. */
  send(message: Message): boolean {
    const peer = this.#byId.get(message.to);
    if (peer === undefined) return false;
    // An acknowledgement that says nothing new (of an append without entries) may ride with the next message: waking the
    // leader for it would cost a third of its time with a single client.
    const stale = message.type === MessageType.AppResp && !message.reject && message.index === peer.acknowledged;
    if (message.type === MessageType.AppResp) peer.acknowledged = message.reject ? -1 : message.index;
    if (!stale) peer.urgent = true;
    return peer.sender.trySend(EnvelopeKind.Raft, 0, 0, this.#encoder.encode(message));
  }

  /** Sends a piece of a snapshot; false when the ring has no room now. */
  sendChunk(to: MemberId, transferId: number, sequence: number, payload: Uint8Array): boolean {
    return this.#sendUrgent(to, EnvelopeKind.SnapshotChunk, sequence & 0xffff, transferId, payload);
  }

  /** Acknowledges a piece of a snapshot. A lost acknowledgement ends the transfer by its timeout. */
  sendAck(to: MemberId, transferId: number, sequence: number): void {
    this.#sendUrgent(to, EnvelopeKind.SnapshotAck, sequence & 0xffff, transferId, EMPTY_BYTES);
  }

  /** Asks a peer (peer-calls.ts); lost when its ring has no room. */
  sendCall(to: MemberId, method: number, callId: number, payload: Uint8Array): void {
    this.#sendUrgent(to, EnvelopeKind.PeerCall, method, callId, payload);
  }

  /** Answers a peer's call, with an error's number or 0; lost when its ring has no room. */
  sendReply(to: MemberId, callId: number, errorCode: number, payload: Uint8Array): void {
    this.#sendUrgent(to, EnvelopeKind.PeerReply, errorCode, callId, payload);
  }

  #sendUrgent(to: MemberId, kind: EnvelopeKind, aux: number, id: number, payload: Uint8Array): boolean {
    const peer = this.#byId.get(to);
    if (peer === undefined) return false;
    peer.urgent = true;
    return peer.sender.trySend(kind, aux, id, payload);
  }

  /** Handles what peers sent, at most `recordsMax` from each. Returns true when a peer may have more. */
  drain(recordsMax: number, nowMs: number): boolean {
    let more = false;
    for (const { handle, receiver } of this.#peers) {
      const taken = receiver.drain(handle, recordsMax, nowMs);
      if (taken >= recordsMax) more = true;
    }
    return more;
  }

  /** When a held-back message (a delay fault) is due, in ms of the turns' clock; Infinity without one. */
  get dueMs(): number {
    return this.#peers.reduce((due, { receiver }) => Math.min(due, receiver.dueMs), Number.POSITIVE_INFINITY);
  }

  /** Publishes what was sent and rings the peers that wait for it; with `all`, also those that do not. */
  flush(all = false): void {
    for (const peer of this.#peers) {
      if (!peer.urgent && !all && peer.sender.backlogBytes === 0) continue;
      peer.urgent = false;
      peer.sender.flush();
    }
  }
}

/** What a record from the peer `from` means to the member. */
function handlerOf(from: MemberId, handler: PeerHandler): MessageHandler {
  return (kind, aux, id, payload) => {
    if (kind === EnvelopeKind.Raft) handler.raft(decodeMessage(payload));
    else if (kind === EnvelopeKind.SnapshotChunk) handler.snapshotChunk(from, id, aux, payload);
    else if (kind === EnvelopeKind.SnapshotAck) handler.snapshotAck(from, id, aux);
    else if (kind === EnvelopeKind.PeerCall) handler.peerCall(from, aux, id, payload);
    else if (kind === EnvelopeKind.PeerReply) handler.peerReply(from, id, aux, payload);
  };
}
