/**
 * The host's end of one member's rings: requests out, replies in.
 *
 *     open(method, bytes, waiter) --ring--> member --ring--> waiter.reply(bytes) | waiter.end(code, detail)
 *     openStream, send*, halfClose? --ring--> member --ring--> waiter.received* ... waiter.ended(code, detail)
 *
 * Requests of one tick leave together: the doorbell rings once per batch, not per request. The port knows nothing of
 * sockets: a gRPC call, the in-process client and the health check are all just waiters.
 *
 * A stream may be sent `streamCreditBytes` ahead; its waiter gives credit back for what its client has taken. The member
 * holds watch events back without credit, so a client that reads slowly costs that much memory and no more.
 *
 * Invariants: a waiter hears reply or end exactly once (B2) and nothing after it; requests are never dropped, a full
 * ring backs up in memory and a backlog over `backlogBytesMax` refuses new requests.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { sharedClockMs } from '../transport/clock.js';
import type { Doorbell } from '../transport/doorbell.js';
import {
  ControlNotice,
  EnvelopeKind,
  FLAG_CALLER,
  FLAG_END,
  FLAG_OF_SERVER,
  FLAG_REQUIRE_LEADER,
  openAux,
} from '../transport/envelope.js';
import { readFanOut } from '../transport/fan-out.js';
import type { LinkBuffers } from '../transport/layout.js';
import { MetricCells, Scalar } from '../transport/metric-cells.js';
import { Receiver } from '../transport/receiver.js';
import { Sender } from '../transport/sender.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode, isEtcdErrorCode } from '../wire/errors.js';
import type { Method } from '../wire/methods.js';
import { PendingTable } from './pending.js';

/** Who waits for the answer of one request. */
export interface Waiter {
  /** Of envelope.ts: its reads take turns with those of other sources; 0 if absent. */
  readonly source?: number;
  /** The answer, status OK. `message` is a view that is valid during the call only. */
  reply(message: Uint8Array): void;
  end(code: EtcdErrorCode, detail: string): void;
}

/** Who hears the answers of a stream. */
export interface StreamWaiter {
  /**
   * One message. `given`: it may be kept and is never written again; otherwise it is a view that is valid during the
   * call only. With a `head`, that goes before it; the head is always such a view.
   */
  received(message: Uint8Array, given: boolean, head: Uint8Array | undefined): void;
  /** The stream is over; code 0: in order. */
  ended(code: EtcdErrorCode | 0, detail: string): void;
}

/** What a member tells its host beside answers. */
export interface PortEvents {
  /** The member has a leader and its attributes are known to the cluster. */
  ready(): void;
  /** A log record (JSON). */
  log(payload: Uint8Array): void;
  /** The member table as of an applied index: a MemberListResponse. Views valid during the call only. */
  members(appliedIndex: number, list: Uint8Array): void;
  /** What gRPC health is to say of the member. */
  serving(isServing: boolean): void;
}

/** Bytes that may wait for room in a member's ring before its clients are told to slow down. */
const backlogBytesMax = 64 * 1024 * 1024;

/** The payload of the credit that is being sent. */
const creditBytes = new Uint8Array(4);

/** Records, and their bytes, that are handled before other work of the main thread gets its turn. */
const recordsPerDrain = 4096;
const bytesPerDrain = 1024 * 1024;

export class MemberPort {
  /** The member's data directory. */
  readonly directory: string;
  readonly #pending = new PendingTable<Waiter | StreamWaiter>();
  readonly #events: PortEvents;
  #sender: Sender | undefined;
  #receiver: Receiver | undefined;
  #flushScheduled = false;
  #metrics = new MetricCells();
  /** When the oldest of what the next flush publishes came. */
  #oldestMs = 0;

  constructor(events: PortEvents, directory: string) {
    this.#events = events;
    this.directory = directory;
  }

  /** Bytes that wait for room in the ring to the member. */
  get backlogBytes(): number {
    return this.#sender?.backlogBytes ?? 0;
  }

  /** Bytes that went through the rings of this start. */
  get ringBytes(): { readonly toMember: number; readonly fromMember: number } {
    return { toMember: this.#sender?.publishedBytes ?? 0, fromMember: this.#receiver?.consumedBytes ?? 0 };
  }

  /** A member thread was started on these rings. */
  attach(
    toMember: LinkBuffers,
    fromMember: LinkBuffers,
    incarnation: number,
    memberDoorbell: Doorbell,
    metrics: MetricCells,
  ): void {
    this.#metrics = metrics;
    this.#sender = new Sender({ link: toMember, incarnation, doorbell: memberDoorbell });
    const borrows = (kind: number): boolean => kind === EnvelopeKind.Reply;
    this.#receiver = new Receiver({ link: fromMember, incarnation, doorbell: memberDoorbell, borrows });
  }

  /** The member thread is gone: whoever still waits is told that the server stopped. */
  detach(): void {
    // What it still said is heard: answers are true, and its last log records say why it died.
    while (this.drain());
    this.#sender = undefined;
    this.#receiver = undefined;
    this.#pending.drain(waiter => endWaiter(waiter, ErrorCode.Stopped, ''));
  }

  /**
   * Sends a request; `request` is copied before the call returns. Returns the request id for `cancel`, or -1 when the
   * waiter was ended at once. `caller`: who asks, encoded by caller.ts. `ofServer`: it is the server's own question and
   * no client's, and needs no right.
   */
  open(
    method: Method,
    request: Uint8Array,
    requireLeader: boolean,
    waiter: Waiter,
    caller?: Uint8Array,
    ofServer = false,
  ): number {
    const requestId = this.#enter(waiter);
    if (requestId === -1) return -1;
    const flags = FLAG_END | openFlags(requireLeader, caller, ofServer);
    this.#send(EnvelopeKind.Open, openAux(method, waiter.source ?? 0), requestId, request, flags, caller);
    return requestId;
  }

  /** Opens a stream, as `open`; returns its id for the calls below, or -1 when the waiter was ended at once. */
  openStream(
    method: Method,
    requireLeader: boolean,
    waiter: StreamWaiter,
    caller?: Uint8Array,
    ofServer = false,
  ): number {
    const streamId = this.#enter(waiter);
    if (streamId === -1) return -1;
    this.#send(EnvelopeKind.Open, method, streamId, EMPTY_BYTES, openFlags(requireLeader, caller, ofServer), caller);
    return streamId;
  }

  /** Sends one more message of a stream; it is copied. A client that fills the backlog alone loses the stream. */
  send(streamId: number, message: Uint8Array): void {
    const waiter = this.#pending.get(streamId);
    if (waiter === undefined || this.#sender === undefined) return;
    if (this.#sender.backlogBytes > backlogBytesMax) {
      this.cancel(streamId);
      endWaiter(waiter, ErrorCode.RequestTooManyRequests, '');
      return;
    }
    this.#send(EnvelopeKind.Message, 0, streamId, message);
  }

  /** The client has sent its last message. */
  halfClose(streamId: number): void {
    if (this.#pending.get(streamId) !== undefined) this.#send(EnvelopeKind.HalfClose, 0, streamId, EMPTY_BYTES);
  }

  /** The stream's client has taken `bytes` more of its messages. */
  credit(streamId: number, bytes: number): void {
    if (this.#pending.get(streamId) === undefined) return;
    new DataView(creditBytes.buffer).setUint32(0, bytes, true);
    this.#send(EnvelopeKind.Credit, 0, streamId, creditBytes);
  }

  /** The client gave up: the waiter is forgotten and the member told to drop what it can. */
  cancel(requestId: number): void {
    if (this.#pending.take(requestId) !== undefined) this.#send(EnvelopeKind.Cancel, 0, requestId, EMPTY_BYTES);
  }

  /** The member is to be taken down in order: streams, which would never end by themselves, end now. */
  endStreams(): void {
    this.#pending.visit((waiter, streamId) => {
      if (!('received' in waiter)) return;
      this.cancel(streamId);
      waiter.ended(ErrorCode.Stopped, '');
    });
  }

  /** The thread of the member at `position` has ended: a leader that is gone is not waited for. */
  peerGone(position: number): void {
    this.#sender?.send(EnvelopeKind.Control, ControlNotice.PeerGone, position, EMPTY_BYTES);
    this.#sender?.flush();
  }

  /**
   * Reads of a source's calls wait, or go on. A member that starts holds nobody, and nobody needs to tell it: the
   * connections to the one before it were cut.
   */
  hold(source: number, isHeld: boolean): void {
    this.#send(EnvelopeKind.Control, isHeld ? ControlNotice.Hold : ControlNotice.GoOn, source, EMPTY_BYTES);
  }

  /** Handles what the member has sent. Returns true when there may be more. */
  drain(): boolean {
    this.#receiver?.drain(this.#handle, recordsPerDrain, 0, bytesPerDrain);
    return this.#receiver?.more ?? false;
  }

  /** Moves the backlog into the ring, if there is room now. */
  flush(): void {
    this.#sender?.flush();
  }

  readonly #handle = (kind: number, aux: number, requestId: number, payload: Uint8Array): void => {
    switch (kind) {
      case EnvelopeKind.Reply: {
        const waiter = this.#pending.take(requestId);
        if (waiter !== undefined && 'reply' in waiter) waiter.reply(payload);
        return;
      }
      case EnvelopeKind.Message:
        this.#message(requestId, payload, !(payload.buffer instanceof SharedArrayBuffer), undefined);
        return;
      case EnvelopeKind.FanOut:
        readFanOut(payload, (streamId, head, body) => this.#message(streamId, body, true, head));
        return;
      case EnvelopeKind.End: {
        const waiter = this.#pending.take(requestId);
        const code = isEtcdErrorCode(aux) ? aux : 0;
        if (waiter !== undefined) endWaiter(waiter, code, Buffer.from(payload).toString('utf8'));
        return;
      }
      case EnvelopeKind.Ready:
        this.#events.ready();
        return;
      case EnvelopeKind.Control:
        if (aux === ControlNotice.Log) this.#events.log(payload);
        else if (aux === ControlNotice.Serving) this.#events.serving(requestId === 1);
        else if (aux === ControlNotice.Members) {
          const appliedIndex = new DataView(payload.buffer, payload.byteOffset, 8).getFloat64(0, true);
          this.#events.members(appliedIndex, payload.subarray(8));
        }
    }
  };

  #message(streamId: number, message: Uint8Array, given: boolean, head: Uint8Array | undefined): void {
    const waiter = this.#pending.get(streamId);
    if (waiter !== undefined && 'received' in waiter) waiter.received(message, given, head);
  }

  /** Enters a waiter; -1 when it was ended at once. */
  #enter(waiter: Waiter | StreamWaiter): number {
    if (this.#sender === undefined) {
      endWaiter(waiter, ErrorCode.Stopped, '');
      return -1;
    }
    const id = this.#sender.backlogBytes > backlogBytesMax ? -1 : this.#pending.add(waiter);
    if (id === -1) endWaiter(waiter, ErrorCode.RequestTooManyRequests, '');
    return id;
  }

  #send(kind: number, aux: number, id: number, payload: Uint8Array, flags = 0, prefix = EMPTY_BYTES): void {
    if (this.#sender === undefined) return;
    this.#sender.send(kind, aux, id, payload, prefix, flags);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#oldestMs = sharedClockMs();
    setImmediate(this.#flushNow);
  }

  readonly #flushNow = (): void => {
    this.#flushScheduled = false;
    this.#metrics.set(Scalar.hostPublishedMs, this.#oldestMs);
    this.#sender?.flush();
  };
}

function openFlags(requireLeader: boolean, caller: Uint8Array | undefined, ofServer: boolean): number {
  return (
    (requireLeader ? FLAG_REQUIRE_LEADER : 0) |
    (caller === undefined ? 0 : FLAG_CALLER) |
    (ofServer ? FLAG_OF_SERVER : 0)
  );
}

/** A unary request has no end without an error: code 0 is a member's mistake and tells its client as little as possible. */
function endWaiter(waiter: Waiter | StreamWaiter, code: EtcdErrorCode | 0, detail: string): void {
  if ('received' in waiter) waiter.ended(code, detail);
  else waiter.end(code === 0 ? ErrorCode.Stopped : code, detail);
}
