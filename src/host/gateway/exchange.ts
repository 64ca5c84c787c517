/**
 * One HTTP request and its answer, whatever carries them: HTTP/1 (http1.ts), a stream of our own HTTP/2 (http2.ts) or
 * a websocket (websocket.ts).
 *
 *     read(listener):  onData* onEnd?  |  onGone     gone: nothing more is heard, and nothing can be sent
 *     respond          |  begin write* end           the answer, at most one
 *
 * Nothing of the body is lost before `read`. `release` says that no work is done for the request any more.
 */
import type { CancelReason, Peer } from '../grpc/call.js';

/** A field of an answer's head as HTTP/1 spells it; names of requests are in lower case. */
export type HeaderPair = readonly [name: string, value: string];

/** Hears a request's body and its end. */
export interface BodyListener {
  /** The bytes are valid during the call. */
  onData(bytes: Uint8Array): void;
  /** Nothing more comes. */
  onEnd(): void;
  /** The client is gone. Heard at most once, possibly after `onEnd`. */
  onGone(reason: CancelReason): void;
  /** After a `write` that returned false: most of what was queued has left. */
  onDrain(): void;
  /** Bytes that it keeps until something is whole. */
  readonly heldBytes: number;
}

export interface Exchange {
  readonly method: string;
  /** Path and query as sent: `/v3/kv/range?x=y`. */
  readonly target: string;
  /** The Host header or `:authority`. */
  readonly host: string;
  /** The request's fields; names in lower case. */
  readonly headers: readonly HeaderPair[];
  readonly peer: Peer;
  /** Came over TLS. */
  readonly secure: boolean;
  /** All of the body has arrived, or there is none. */
  readonly bodyComplete: boolean;
  /** Bytes of the answer that the client's connection has not taken yet. */
  readonly unsentBytes: number;

  read(listener: BodyListener): void;
  /** Fields of the answer's head, whichever answer it will be. */
  addHeaders(headers: readonly HeaderPair[]): void;
  /** Whether one answer may be made of several writes. */
  readonly takesPieces: boolean;
  /** The whole answer. */
  respond(status: number, headers: readonly HeaderPair[], body: string): void;
  /** The head of an answer that comes in pieces. */
  begin(status: number, headers: readonly HeaderPair[]): void;
  /** One piece; it travels as a chunk of its own where chunks exist. False: enough is queued, wait for the drain. */
  write(text: string): boolean;
  end(): void;
  /** Cuts the request off; nothing more is heard of it. */
  abort(): void;
  release(): void;
}

/** The first value of a request's field; undefined: not sent. */
export function headerOf(exchange: Exchange, name: string): string | undefined {
  return exchange.headers.find(([field]) => field === name)?.[1];
}

/** A short answer for people, worded and labelled as etcd's HTTP server does it. */
export function respondText(exchange: Exchange, status: number, text: string, further: readonly HeaderPair[] = []) {
  const type: HeaderPair = ['Content-Type', 'text/plain; charset=utf-8'];
  exchange.respond(status, [...further, type, ['X-Content-Type-Options', 'nosniff']], `${text}\n`);
}

/** How long a body may keep the server waiting: for all of it, or for the next object of a stream that has begun one. */
export const bodyTimeoutMs = 30_000;

/** Bytes waiting for a client from which on the sender is told to wait, and beyond which it is cut off. */
export const drainBytes = 64 * 1024;
export const unsentBytesMax = 16 * 1024 * 1024;

/** Reads a body that nobody wants, as long as it comes in time: the connection can then carry the next request. */
export function discardBody(exchange: Exchange): void {
  if (exchange.bodyComplete) {
    exchange.release();
    return;
  }
  const timer = setTimeout(() => {
    exchange.abort();
    exchange.release();
  }, bodyTimeoutMs);
  const over = (): void => {
    clearTimeout(timer);
    exchange.release();
  };
  exchange.read({ onData() {}, onEnd: over, onGone: over, onDrain() {}, heldBytes: 0 });
}
