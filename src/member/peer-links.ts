/**
 * A member's rings with its peers. Raft messages may be lost on the way (a full ring, a cut link): Raft repairs that,
 * except for proposals, which nobody sends again: they wait for room.
 * Snapshot chunks and their acknowledgements share the ring and are paced by snapshots.ts.
 *
 * Peers come and go while the member runs: the host hands the rings over (`connect`) when it has made a member's thread,
 * and takes them back (`disconnect`) when that thread has ended for good. Who belongs to the cluster is Raft's business.
 *
 * A peer counts as connected since it was first heard, as long as something is heard of it: followers have nothing to
 * say to each other, so every member gives every peer a sign of life once in `aliveEveryMs`.
 *
 * With a sign of life goes the question how long it takes (the probes of etcd's rafthttp): the peer answers at once, and
 * the time it all took is the round trip that metrics show.
 *
 * Peers are addressed by member id; the host knows them by position.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { Prng } from '../base/prng.js';
import type { MemberBoot, PeerConnection } from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { EnvelopeKind } from '../transport/envelope.js';
import { type MetricCells, PeerHistogram, PeerScalar } from '../transport/metric-cells.js';
import { type MessageHandler, Receiver } from '../transport/receiver.js';
import { Sender } from '../transport/sender.js';
import { decodeMessage, MessageEncoder } from './raft/codec.js';
import { type MemberId, type Message, MessageType, NO_MEMBER, weigh } from './raft/types.js';
import { recordsPerTurn, weightPerTurn } from './turn-limits.js';

/** What comes from a peer. `payload` is a view that is valid during the call only. */
export interface PeerHandler {
  raft(message: Message): void;
  snapshotChunk(from: MemberId, transferId: number, sequence: number, payload: Uint8Array): void;
  snapshotAck(from: MemberId, transferId: number, sequence: number): void;
  peerCall(from: MemberId, method: number, callId: number, payload: Uint8Array): void;
  peerReply(from: MemberId, callId: number, errorCode: number, payload: Uint8Array): void;
}

/** Signs of life, and the silence after which a peer counts as gone (etcd: ConnReadTimeout). */
const aliveEveryMs = 1_000;
const silenceMaxMs = 5_000;

/** Of a sign of life (aux): a question, or the answer to one. */
const Alive = { asks: 0, answers: 1 } as const;

interface Peer {
  readonly id: MemberId;
  readonly position: number;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly handle: MessageHandler;
  /** Something was sent that the peer waits for: the next flush rings its bell. */
  urgent: boolean;
  /** The last index this member acknowledged to the peer. */
  acknowledged: number;
  /** Something came in the present drain. */
  heard: boolean;
  heardMs: number;
  connectedSinceMs: number | undefined;
  /** Its block of metric cells; undefined: none was free. */
  readonly cellsAt: number | undefined;
  /** Number and time of the last question. */
  askedId: number;
  askedMs: number;
  /** Nothing has been heard for so long that what is sent counts as failed. */
  silent: boolean;
}

export class PeerLinks {
  readonly #boot: MemberBoot;
  readonly #handler: PeerHandler;
  readonly #cells: MetricCells;
  #peers: Peer[] = [];
  readonly #byId = new Map<MemberId, Peer>();
  readonly #encoder = new MessageEncoder();
  #aliveMs = Number.NEGATIVE_INFINITY;
  /** Weight of what was taken from the peer whose ring is drained. */
  #takenBytes = 0;

  /** `handler` hears everything that `drain` takes from the rings. */
  constructor(boot: MemberBoot, handler: PeerHandler, cells: MetricCells) {
    this.#cells = cells;
    this.#boot = boot;
    this.#handler = handler;
    for (const peer of boot.peers) this.connect(peer);
  }

  /** Attaches to the rings with a peer; one that is connected already stays as it is. */
  connect({ id, position, doorbell: bell, fromPeer, toPeer }: PeerConnection): void {
    if (this.#byId.has(id)) return;
    const doorbell = new Doorbell(bell);
    const { incarnation, seed } = this.#boot;
    const peer: Peer = {
      id,
      position,
      sender: new Sender({ link: toPeer, incarnation, doorbell }),
      receiver: new Receiver({ link: fromPeer, incarnation, doorbell, prng: new Prng(seed + position) }),
      handle: (kind, aux, callId, payload) => {
        peer.heard = true;
        if (kind === EnvelopeKind.Alive) this.#alive(peer, aux, callId);
        else this.#takenBytes += handle(id, this.#handler, kind, aux, callId, payload);
      },
      urgent: false,
      acknowledged: -1,
      heard: false,
      heardMs: 0,
      connectedSinceMs: undefined,
      cellsAt: this.#cells.takePeer(id),
      askedId: 0,
      askedMs: 0,
      silent: false,
    };
    this.#peers.push(peer);
    this.#byId.set(id, peer);
  }

  /** Lets go of the rings with the peer at `position`. */
  disconnect(position: number): void {
    this.#peers = this.#peers.filter(peer => {
      if (peer.position !== position) return true;
      this.#byId.delete(peer.id);
      if (peer.cellsAt !== undefined) this.#cells.freePeer(peer.cellsAt);
      return false;
    });
  }

  /** The thread of the peer at `position` has ended; a later one is heard of when it speaks. Returns whose it was. */
  gone(position: number): MemberId {
    const peer = this.#peers.find(other => other.position === position);
    if (peer === undefined) return NO_MEMBER;
    this.#lost(peer);
    return peer.id;
  }

  /** The host's number of a member, -1 for none or unknown. */
  positionOf(id: MemberId): number {
    return id === this.#boot.identity.id ? this.#boot.position : (this.#byId.get(id)?.position ?? -1);
  }

  /** Since when a peer has been heard without a break; undefined: it is not connected now. */
  connectedSinceMs(id: MemberId): number | undefined {
    return this.#byId.get(id)?.connectedSinceMs;
  }

  /** Once a tick: gives signs of life, and notices who has stopped giving them. */
  tick(nowMs: number): void {
    for (const peer of this.#peers) {
      peer.silent = nowMs - peer.heardMs > silenceMaxMs;
      if (peer.silent) this.#lost(peer);
    }
    if (nowMs - this.#aliveMs < aliveEveryMs) return;
    this.#aliveMs = nowMs;
    for (const peer of this.#peers) {
      peer.askedId = (peer.askedId + 1) >>> 0;
      peer.askedMs = performance.now();
      peer.sender.trySend(EnvelopeKind.Alive, Alive.asks, peer.askedId, EMPTY_BYTES);
    }
  }

  /** Publishes what crossed the rings, and who is connected. */
  publish(cells: MetricCells): void {
    for (const { cellsAt, sender, receiver, connectedSinceMs } of this.#peers) {
      if (cellsAt === undefined) continue;
      cells.set(cellsAt + PeerScalar.active, connectedSinceMs === undefined ? 0 : 1);
      cells.set(cellsAt + PeerScalar.sentBytes, sender.publishedBytes);
      cells.set(cellsAt + PeerScalar.receivedBytes, receiver.consumedBytes);
      cells.set(cellsAt + PeerScalar.backlogBytes, sender.backlogBytes);
    }
  }

  /** The cells of a peer, for what others count of it. */
  cellsOf(id: MemberId): number | undefined {
    return this.#byId.get(id)?.cellsAt;
  }

  /** Proposals for a member wait for room in its ring: it should get no more of them. */
  isBackedUp(id: MemberId): boolean {
    return (this.#byId.get(id)?.sender.backlogBytes ?? 0) > 0;
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
    const bytes = this.#encoder.encode(message);
    if (message.type === MessageType.Prop) {
      peer.sender.send(EnvelopeKind.Raft, 0, 0, bytes);
      return true;
    }
    const sent = peer.sender.trySend(EnvelopeKind.Raft, 0, 0, bytes);
    if ((peer.silent || !sent) && peer.cellsAt !== undefined) this.#cells.add(peer.cellsAt + PeerScalar.sendFailures);
    return sent;
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

  #alive(peer: Peer, aux: number, id: number): void {
    if (aux === Alive.asks) {
      peer.urgent = true;
      peer.sender.trySend(EnvelopeKind.Alive, Alive.answers, id, EMPTY_BYTES);
    } else if (id === peer.askedId && peer.cellsAt !== undefined) {
      const seconds = (performance.now() - peer.askedMs) / 1_000;
      this.#cells.observe(PeerHistogram.roundTrip, seconds, peer.cellsAt);
      this.#cells.observe(PeerHistogram.roundTripFine, seconds, peer.cellsAt);
    }
  }

  /** Nothing is heard of the peer any more. */
  #lost(peer: Peer): void {
    if (peer.connectedSinceMs === undefined) return;
    peer.connectedSinceMs = undefined;
    if (peer.cellsAt !== undefined) this.#cells.add(peer.cellsAt + PeerScalar.disconnections);
  }

  #sendUrgent(to: MemberId, kind: EnvelopeKind, aux: number, id: number, payload: Uint8Array): boolean {
    const peer = this.#byId.get(to);
    if (peer === undefined) return false;
    peer.urgent = true;
    return peer.sender.trySend(kind, aux, id, payload);
  }

  /** Handles what peers sent, from each what a turn may take (turn-limits.ts). True when a peer may have more. */
  drain(nowMs: number): boolean {
    let more = false;
    for (const peer of this.#peers) {
      this.#takenBytes = 0;
      let taken = 0;
      while (taken < recordsPerTurn && this.#takenBytes < weightPerTurn) {
        if (peer.receiver.drain(peer.handle, 1, nowMs) === 0) break;
        taken += 1;
      }
      if (taken >= recordsPerTurn || this.#takenBytes >= weightPerTurn) more = true;
      if (!peer.heard) continue;
      peer.heard = false;
      peer.heardMs = nowMs;
      peer.connectedSinceMs ??= nowMs;
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

/** What a record from the peer `from` means to the member. Returns its weight. */
function handle(
  from: MemberId,
  handler: PeerHandler,
  kind: number,
  aux: number,
  id: number,
  payload: Uint8Array,
): number {
  if (kind === EnvelopeKind.Raft) {
    const message = decodeMessage(payload);
    handler.raft(message);
    return weigh(message.entries);
  }
  if (kind === EnvelopeKind.SnapshotChunk) handler.snapshotChunk(from, id, aux, payload);
  else if (kind === EnvelopeKind.SnapshotAck) handler.snapshotAck(from, id, aux);
  else if (kind === EnvelopeKind.PeerCall) handler.peerCall(from, aux, id, payload);
  else if (kind === EnvelopeKind.PeerReply) handler.peerReply(from, id, aux, payload);
  return payload.length;
}
