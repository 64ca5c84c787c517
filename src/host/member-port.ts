/**
 * The host's end of one member's rings: requests out, replies in.
 *
 *     open(method, bytes, waiter) --ring--> member --ring--> waiter.reply(bytes) | waiter.end(code, detail)
 *
 * Requests of one tick leave together: the doorbell rings once per batch, not per request. The port knows nothing of
 * sockets: a gRPC call, the in-process client and the health check are all just waiters.
 *
 * Invariants: a waiter hears reply or end exactly once (B2); requests are never dropped, a full ring backs up in memory
 * and a backlog over `backlogBytesMax` refuses new requests.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { Doorbell } from '../transport/doorbell.js';
import { ControlNotice, EnvelopeKind, FLAG_END, FLAG_REQUIRE_LEADER } from '../transport/envelope.js';
import type { LinkBuffers } from '../transport/layout.js';
import { Receiver } from '../transport/receiver.js';
import { Sender } from '../transport/sender.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode, isEtcdErrorCode } from '../wire/errors.js';
import type { Method } from '../wire/methods.js';
import { PendingTable } from './pending.js';

/** Who waits for the answer of one request. */
export interface Waiter {
  /** The answer, status OK. `message` is a view that is valid during the call only. */
  reply(message: Uint8Array): void;
  end(code: EtcdErrorCode, detail: string): void;
}

/** What a member tells its host beside answers. */
export interface PortEvents {
  /** The member has a leader and its attributes are known to the cluster. */
  ready(): void;
  /** A log record (JSON). */
  log(payload: Uint8Array): void;
}

/** Bytes that may wait for room in a member's ring before its clients are told to slow down. */
const backlogBytesMax = 64 * 1024 * 1024;

/** Records handled before other work of the main thread gets its turn. */
const recordsPerDrain = 4096;

export class MemberPort {
  readonly #pending = new PendingTable<Waiter>();
  readonly #events: PortEvents;
  #sender: Sender | undefined;
  #receiver: Receiver | undefined;
  #flushScheduled = false;

  constructor(events: PortEvents) {
    this.#events = events;
  }

  /** A member thread was started on these rings. */
  attach(toMember: LinkBuffers, fromMember: LinkBuffers, incarnation: number, memberDoorbell: Doorbell): void {
    this.#sender = new Sender({ link: toMember, incarnation, doorbell: memberDoorbell });
    this.#receiver = new Receiver({ link: fromMember, incarnation, doorbell: memberDoorbell });
  }

  /** The member thread is gone: whoever still waits is told that the server stopped. */
  detach(): void {
    this.#sender = undefined;
    this.#receiver = undefined;
    this.#pending.drain(waiter => waiter.end(ErrorCode.Stopped, ''));
  }

  /**
   * Sends a request; `request` is copied before the call returns. Returns the request id for `cancel`, or -1 when the
   * waiter was ended at once.
   */
  open(method: Method, request: Uint8Array, requireLeader: boolean, waiter: Waiter): number {
    const sender = this.#sender;
    if (sender === undefined) {
      waiter.end(ErrorCode.Stopped, '');
      return -1;
    }
    const requestId = sender.backlogBytes > backlogBytesMax ? -1 : this.#pending.add(waiter);
    if (requestId === -1) {
      waiter.end(ErrorCode.RequestTooManyRequests, '');
      return -1;
    }
    const flags = requireLeader ? FLAG_END | FLAG_REQUIRE_LEADER : FLAG_END;
    sender.send(EnvelopeKind.Open, method, requestId, request, EMPTY_BYTES, flags);
    this.#scheduleFlush();
    return requestId;
  }

  /** The client gave up: the waiter is forgotten and the member told to drop what it can. */
  cancel(requestId: number): void {
    if (this.#pending.take(requestId) === undefined || this.#sender === undefined) return;
    this.#sender.send(EnvelopeKind.Cancel, 0, requestId, EMPTY_BYTES);
    this.#scheduleFlush();
  }

  /** The thread of the member at `position` has ended: a leader that is gone is not waited for. */
  peerGone(position: number): void {
    this.#sender?.send(EnvelopeKind.Control, ControlNotice.PeerGone, position, EMPTY_BYTES);
    this.#sender?.flush();
  }

  /** Handles what the member has sent. Returns true when there may be more. */
  drain(): boolean {
    return (this.#receiver?.drain(this.#handle, recordsPerDrain, 0) ?? 0) >= recordsPerDrain;
  }

  /** Moves the backlog into the ring, if there is room now. */
  flush(): void {
    this.#sender?.flush();
  }

  readonly #handle = (kind: number, aux: number, requestId: number, payload: Uint8Array): void => {
    switch (kind) {
      case EnvelopeKind.Reply:
        this.#pending.take(requestId)?.reply(payload);
        return;
      case EnvelopeKind.End: {
        const code = isEtcdErrorCode(aux) ? aux : ErrorCode.Stopped;
        this.#pending.take(requestId)?.end(code, Buffer.from(payload).toString('utf8'));
        return;
      }
      case EnvelopeKind.Ready:
        this.#events.ready();
        return;
      case EnvelopeKind.Control:
        if (aux === ControlNotice.Log) this.#events.log(payload);
    }
  };

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flushNow);
  }

  readonly #flushNow = (): void => {
    this.#flushScheduled = false;
    this.#sender?.flush();
  };
}
