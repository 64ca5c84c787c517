/**
 * State transfer between members: a leader streams its store to a member whose log has fallen behind its own.
 *
 *     leader                                     follower
 *     export store at its applied index
 *     piece 0, 1, 2 … (at most `windowPieces` unacknowledged)  -->  import into a fresh store
 *                                               <--  acknowledge each
 *     last piece: the MsgSnap itself            -->  verify, hand MsgSnap to Raft, which installs the store
 *
 * A piece is one byte of kind and its payload. Pieces travel over rings that may lose them (a cut link, a full ring):
 * a transfer without progress for `stallMs` is given up, Raft is told and starts another.
 *
 * Invariants: pieces are taken strictly in order; a store becomes visible only after every piece of one transfer.
 */
import { assert } from '../base/assert.js';
import { Histogram, type MetricCells, PeerHistogram, PeerScalar } from '../transport/metric-cells.js';
import type { PeerLinks } from './peer-links.js';
import { decodeMessage, MessageEncoder } from './raft/codec.js';
import type { MemberId, Message } from './raft/types.js';
import { StorageError, StorageErrorKind } from './store/storage-error.js';
import type { StateExporter } from './transfer/exporter.js';
import type { StateImporter } from './transfer/importer.js';

const windowPieces = 16;
/** Pieces made in one turn: each costs about a millisecond, and the leader has heartbeats to send. */
const piecesPerTurn = 4;
const stallMs = 5_000;

const Piece = { state: 0, message: 1 } as const;

interface Outgoing {
  readonly message: Message;
  readonly transferId: number;
  readonly exporter: StateExporter;
  /** A piece the ring had no room for. */
  held: Uint8Array | undefined;
  sent: number;
  acknowledged: number;
  lastSent: boolean;
  progressMs: number;
  readonly startedMs: number;
}

/** The leader's side. At most one transfer to a member at a time. */
export class SnapshotSender {
  readonly #links: PeerLinks;
  readonly #cells: MetricCells;
  readonly #finished: (to: MemberId, ok: boolean) => void;
  readonly #outgoing = new Map<MemberId, Outgoing>();
  #nextTransferId: number;

  /** `finished` is told how each transfer ended: all pieces acknowledged, or given up. */
  constructor(
    links: PeerLinks,
    cells: MetricCells,
    firstTransferId: number,
    finished: (to: MemberId, ok: boolean) => void,
  ) {
    this.#links = links;
    this.#cells = cells;
    this.#nextTransferId = firstTransferId >>> 0;
    this.#finished = finished;
  }

  get active(): boolean {
    return this.#outgoing.size > 0;
  }

  isSendingTo(member: MemberId): boolean {
    return this.#outgoing.has(member);
  }

  /** Starts the transfer that `message` (MsgSnap) announces. */
  start(message: Message, exporter: StateExporter, nowMs: number): void {
    assert(!this.#outgoing.has(message.to), 'one snapshot transfer to a member at a time');
    const transferId = this.#nextTransferId;
    this.#nextTransferId = (transferId + 1) >>> 0;
    this.#count(message.to, PeerScalar.snapshotSendsInflight, 1);
    const counters = { sent: 0, acknowledged: 0, lastSent: false, progressMs: nowMs, startedMs: nowMs };
    this.#outgoing.set(message.to, { message, transferId, exporter, held: undefined, ...counters });
  }

  acknowledge(from: MemberId, transferId: number, sequence: number, nowMs: number): void {
    const transfer = this.#outgoing.get(from);
    if (transfer === undefined || transfer.transferId !== transferId) return;
    if (sequence !== (transfer.acknowledged & 0xffff)) return;
    transfer.acknowledged += 1;
    transfer.progressMs = nowMs;
    if (transfer.lastSent && transfer.acknowledged === transfer.sent) this.#end(transfer, true, nowMs);
  }

  /** Sends what the windows allow and gives up what has stalled. */
  pump(nowMs: number): void {
    for (const transfer of this.#outgoing.values()) {
      if (nowMs - transfer.progressMs > stallMs) this.#end(transfer, false, nowMs);
      else this.#fill(transfer);
    }
  }

  /** This member no longer leads: its transfers are void. */
  abandon(): void {
    for (const transfer of this.#outgoing.values()) {
      transfer.exporter.close();
      this.#count(transfer.message.to, PeerScalar.snapshotSendsInflight, -1);
      this.#count(transfer.message.to, PeerScalar.snapshotSendFailures, 1);
    }
    this.#outgoing.clear();
  }

  #fill(transfer: Outgoing): void {
    for (let piece = 0; piece < piecesPerTurn; piece++) {
      if (transfer.lastSent || transfer.sent - transfer.acknowledged >= windowPieces) return;
      const bytes = transfer.held ?? this.#nextPiece(transfer);
      if (!this.#links.sendChunk(transfer.message.to, transfer.transferId, transfer.sent & 0xffff, bytes)) {
        transfer.held = bytes;
        return;
      }
      transfer.held = undefined;
      transfer.sent += 1;
      transfer.lastSent = bytes[0] === Piece.message;
    }
  }

  #nextPiece(transfer: Outgoing): Uint8Array {
    const chunk = transfer.exporter.next();
    return chunk === undefined
      ? withKind(Piece.message, new MessageEncoder().encode(transfer.message))
      : withKind(Piece.state, chunk);
  }

  #end({ exporter, message, startedMs }: Outgoing, ok: boolean, nowMs: number): void {
    exporter.close();
    this.#outgoing.delete(message.to);
    this.#count(message.to, PeerScalar.snapshotSendsInflight, -1);
    this.#count(message.to, ok ? PeerScalar.snapshotsSent : PeerScalar.snapshotSendFailures, 1);
    const at = this.#links.cellsOf(message.to);
    if (ok && at !== undefined) this.#cells.observe(PeerHistogram.snapshotSend, (nowMs - startedMs) / 1_000, at);
    this.#finished(message.to, ok);
  }

  #count(to: MemberId, cell: number, amount: number): void {
    const at = this.#links.cellsOf(to);
    if (at !== undefined) this.#cells.add(at + cell, amount);
  }
}

/** A verified store and the message that announces it. */
export interface ReceivedSnapshot {
  readonly message: Message;
  readonly importer: StateImporter;
}

/** The follower's side. A new transfer replaces one that is under way. */
export class SnapshotReceiver {
  readonly #createImporter: () => StateImporter;
  readonly #cells: MetricCells;
  /** Of the member that sends; undefined without one. */
  #cellsAt: number | undefined;
  #startedMs = 0;
  #importer: StateImporter | undefined;
  #from: MemberId = 0n;
  #transferId = 0;
  #nextSequence = 0;

  constructor(createImporter: () => StateImporter, cells: MetricCells) {
    this.#cells = cells;
    this.#createImporter = createImporter;
  }

  /**
   * Takes a piece. Returns true when it is to be acknowledged, and the snapshot when it was the last one. The payload is
   * a view that is valid during the call only.
   */
  take(
    from: MemberId,
    transferId: number,
    sequence: number,
    payload: Uint8Array,
  ): { acknowledge: boolean; received?: ReceivedSnapshot } {
    const fresh = from !== this.#from || transferId !== this.#transferId;
    if (fresh) {
      if (sequence !== 0 || payload[0] !== Piece.state) return { acknowledge: false };
      if (this.#importer !== undefined) this.#failed();
      this.#importer?.abandon();
      this.#importer = this.#createImporter();
      this.#startedMs = performance.now();
      this.#cellsAt = this.#cells.takePeer(from);
      this.#count(PeerScalar.snapshotReceivesInflight, 1);
      this.#from = from;
      this.#transferId = transferId;
      this.#nextSequence = 0;
    }
    const importer = this.#importer;
    if (importer === undefined || sequence !== (this.#nextSequence & 0xffff)) return { acknowledge: false };
    this.#nextSequence += 1;
    try {
      if (payload[0] === Piece.state) {
        importer.write(payload.subarray(1));
        return { acknowledge: true };
      }
      const finishMs = performance.now();
      importer.finish();
      this.#succeeded(finishMs);
    } catch (error) {
      // A damaged piece ends this transfer (the sender will notice and start another), never the member.
      if (!(error instanceof StorageError) || error.kind !== StorageErrorKind.Corrupt) throw error;
      importer.abandon();
      this.#failed();
      this.#importer = undefined;
      return { acknowledge: false };
    }
    this.#importer = undefined;
    return { acknowledge: true, received: { message: decodeMessage(payload.subarray(1)), importer } };
  }

  #succeeded(finishMs: number): void {
    const nowMs = performance.now();
    const seconds = (nowMs - this.#startedMs) / 1_000;
    this.#count(PeerScalar.snapshotReceivesInflight, -1);
    this.#count(PeerScalar.snapshotsReceived, 1);
    this.#cells.observe(Histogram.dbSnapshotFsync, (nowMs - finishMs) / 1_000);
    this.#cells.observe(Histogram.dbSnapshotSave, seconds);
    if (this.#cellsAt !== undefined) this.#cells.observe(PeerHistogram.snapshotReceive, seconds, this.#cellsAt);
  }

  #failed(): void {
    this.#count(PeerScalar.snapshotReceivesInflight, -1);
    this.#count(PeerScalar.snapshotReceiveFailures, 1);
  }

  #count(cell: number, amount: number): void {
    if (this.#cellsAt !== undefined) this.#cells.add(this.#cellsAt + cell, amount);
  }
}

function withKind(kind: number, bytes: Uint8Array): Uint8Array {
  const piece = new Uint8Array(bytes.length + 1);
  piece[0] = kind;
  piece.set(bytes, 1);
  return piece;
}
