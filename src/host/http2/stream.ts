/**
 * One stream of a server connection: its state, its windows, and what waits to be sent on it.
 *
 *               request HEADERS
 *     (idle) ---------------------> Open --- END_STREAM received ---> HalfClosedRemote
 *        |                           |  \                                 |
 *        |        END_STREAM sent    |   `--- RST either way ---.         | END_STREAM sent
 *        |                           v                           v        v
 *        |                    HalfClosedLocal -- END_STREAM --> Closed <--'
 *        `---- request HEADERS with END_STREAM ----> HalfClosedRemote
 *
 * Idle streams have no object, and none outlives Closed in the connection's table. Servers that push would need the two
 * reserved states (RFC 9113 §5.1); this one never does.
 *
 * Invariants: `sendWindow` may be negative (the peer shrank it, §6.9.2), `receiveWindow` may not; nothing is queued
 * on a stream whose local side ended; `receiver` hears `onReset` at most once, and nothing after it.
 */
import type { HeaderSet } from './hpack/encoder.js';
import type { HeaderField } from './hpack/field.js';

export const StreamState = { Open: 0, HalfClosedRemote: 1, HalfClosedLocal: 2, Closed: 3 } as const;
export type StreamState = (typeof StreamState)[keyof typeof StreamState];

/** How far a stream's receive window may open (receive-windows.ts). */
export const Width = { Narrow: 0, Waiting: 1, Wide: 2 } as const;
export type Width = (typeof Width)[keyof typeof Width];

/**
 * Who ended a stream before its time: the peer, we (its frames were wrong or its reader too slow), or the connection.
 */
export type ResetCause = 'peer' | 'protocol' | 'slow-reader' | 'connection';

/** What the layer above does with what arrives on a stream. */
export interface StreamReceiver {
  /** Payload `bytes[from, to)`, not empty; a view that is valid during the call. */
  onData(bytes: Uint8Array, from: number, to: number): void;
  /** The peer's side ended, with these trailers (mostly none). */
  onEnd(trailers: readonly HeaderField[]): void;
  /** The stream is gone before both sides ended; nothing can be sent. Called at most once. */
  onReset(cause: ResetCause, code: number): void;
  /** After a `sendData` that returned false: most of what was queued has left. */
  onWritable(): void;
  /** Bytes of data that it holds because something is not whole yet, or not answered. They fall while it hears only. */
  readonly heldBytes: number;
  /**
   * Bytes of data still missing of that, as far as it knows. It may say less if it does not know: at least half of a
   * stream's window, and not more than all of it. 0: nothing is missing.
   */
  readonly missingBytes: number;
}

/** What a stream needs of its connection. */
export interface StreamOwner {
  respond(
    stream: Stream,
    headers: HeaderSet,
    head: Uint8Array,
    body: Uint8Array,
    trailers: HeaderSet,
    given: boolean,
  ): void;
  sendHeaders(stream: Stream, headers: HeaderSet, endStream: boolean): void;
  sendData(stream: Stream, head: Uint8Array, body: Uint8Array, given: boolean): boolean;
  end(stream: Stream, trailers: HeaderSet): void;
  reset(stream: Stream, code: number): void;
  released(stream: Stream): void;
}

export class Stream {
  readonly id: number;
  readonly owner: StreamOwner;
  state: StreamState;
  /** Undefined while the request is being accepted; what ends the stream meanwhile is told afterwards. */
  receiver: StreamReceiver | undefined = undefined;
  resetUntold: { readonly cause: ResetCause; readonly code: number } | undefined = undefined;

  /** Bytes the peer may still send. */
  receiveWindow: number;
  /** How far that may open, what the receiver held when it was asked last, and what it will hold. */
  width: Width = Width.Narrow;
  heldBytes = 0;
  wholeBytes = 0;
  nextWaiting: Stream | undefined = undefined;
  previousWaiting: Stream | undefined = undefined;
  /** Bytes of the request's `content-length` still to come; -1 = none announced. */
  contentLeft: number;

  /** Bytes we may still send; negative after the peer shrank it. */
  sendWindow: number;
  /** Unsent parts in order; the first `queueFirst` are done, and `queueOffset` bytes of the next. */
  queue: Uint8Array[] = [];
  queueFirst = 0;
  queueOffset = 0;
  queuedBytes = 0;
  /** Sent once the queue is empty: ends our side. */
  trailers: HeaderSet | undefined = undefined;
  /** Waits in the connection's round of streams that may send. */
  inRound = false;
  nextInRound: Stream | undefined = undefined;
  /** `sendData` returned false and `onWritable` is owed. */
  owesWritable = false;
  /** The handler above has ended: the stream's place among the concurrent ones is free once it is closed. */
  handlerEnded = false;

  constructor(id: number, owner: StreamOwner, endStream: boolean, contentLength: number, windows: InitialWindows) {
    this.id = id;
    this.owner = owner;
    this.state = endStream ? StreamState.HalfClosedRemote : StreamState.Open;
    this.contentLeft = contentLength;
    this.receiveWindow = windows.receive;
    this.sendWindow = windows.send;
  }

  get remoteEnded(): boolean {
    return this.state === StreamState.HalfClosedRemote || this.state === StreamState.Closed;
  }

  get localEnded(): boolean {
    return this.state === StreamState.HalfClosedLocal || this.state === StreamState.Closed;
  }

  /** A whole response in one go. `given` as for `sendData`. Nothing happens on a stream that is gone. */
  respond(headers: HeaderSet, head: Uint8Array, body: Uint8Array, trailers: HeaderSet, given: boolean): void {
    this.owner.respond(this, headers, head, body, trailers, given);
  }

  /** Response headers; with `endStream` they are the whole response. */
  sendHeaders(headers: HeaderSet, endStream: boolean): void {
    this.owner.sendHeaders(this, headers, endStream);
  }

  /**
   * Data made of two parts. `given`: the second part belongs to the stream now and is not copied; otherwise both are
   * only read during the call. False: much is queued, wait for `onWritable` before sending more.
   */
  sendData(head: Uint8Array, body: Uint8Array, given: boolean): boolean {
    return this.owner.sendData(this, head, body, given);
  }

  /** Trailers behind everything queued; ends our side. */
  end(trailers: HeaderSet): void {
    this.owner.end(this, trailers);
  }

  /** RST_STREAM. The receiver is not told: its owner asked for it. */
  reset(code: number): void {
    this.owner.reset(this, code);
  }

  /** Says that no handler works for this stream any more. */
  release(): void {
    if (this.handlerEnded) return;
    this.handlerEnded = true;
    this.owner.released(this);
  }
}

export interface InitialWindows {
  receive: number;
  send: number;
}
