/**
 * One gRPC call on one HTTP/2 stream.
 *
 *                 reply, end                       nobody hears anything any more
 *     Running ------------------> Ended  <------.
 *        |                                      | reply, end: the handler has stopped, its slot is free
 *        `-- reset, deadline, bad message --> Cancelled
 *
 * Invariants: the listener hears `cancel` at most once, and nothing after it or after the call has ended; exactly one
 * of response and RST_STREAM goes to the client.
 */

import { concatBytes, copyBytes, EMPTY_BYTES } from '../../base/bytes.js';
import { GrpcCode } from '../../wire/errors.js';
import { HeaderSet } from '../http2/hpack/encoder.js';
import type { HeaderField } from '../http2/hpack/field.js';
import type { RequestHead } from '../http2/request-head.js';
import type { ResetCause, Stream, StreamReceiver } from '../http2/stream.js';
import type { Call, CallListener, CancelReason, Metadata, Peer, Service } from './call.js';
import { cancelCode } from './counted-call.js';
import type { GrpcCounts } from './counts.js';
import type { DeadlineEntry, Deadlines } from './deadlines.js';
import { pack, unpack } from './gzip.js';
import type { HeldBytes } from './held-bytes.js';
import { MessageReader, type MessageSink, prefixBytes } from './message-reader.js';
import { type CallHead, isPlain, readHead } from './request.js';
import { responseHeaders, responseHeadersGzip, trailers, trailersOk, trailersOnly } from './status.js';

/** What all calls of a server share. */
export interface CallContext {
  readonly service: Service;
  readonly deadlines: Deadlines;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** Largest request message, before and after decompression. */
  readonly receiveBytesMax: number;
  /** Takes requests that are no gRPC calls; undefined: they are refused. */
  readonly acceptPlain?: PlainAcceptor | undefined;
  readonly counts: GrpcCounts;
}

/** Serves a request that is plain HTTP. */
export type PlainAcceptor = (stream: Stream, head: RequestHead, peer: Peer) => StreamReceiver;

const CallState = { Running: 0, Cancelled: 1, Ended: 2 } as const;
type CallState = (typeof CallState)[keyof typeof CallState];

/** The prefix of the message that is being sent, and room for a head behind it; the stream copies them. */
const start = new Uint8Array(prefixBytes + 32);
const prefix = start.subarray(0, prefixBytes);
/** starts[n]: the prefix with a head of n bytes. Views are made once: thousands of calls may share one body. */
const starts = Array.from({ length: start.length - prefixBytes + 1 }, (_, bytes) =>
  start.subarray(0, prefixBytes + bytes),
);

/** Who sits at the other end of a connection, and what it holds. */
export interface Client {
  readonly peer: Peer;
  readonly held: HeldBytes;
}

/** Makes a call of a request and hands it to the service, or refuses a request that is none. */
export function acceptCall(context: CallContext, stream: Stream, head: RequestHead, client: Client): StreamReceiver {
  const callHead = readHead(head);
  if (callHead instanceof HeaderSet) {
    if (context.acceptPlain !== undefined && isPlain(head)) return context.acceptPlain(stream, head, client.peer);
    stream.sendHeaders(callHead, true);
    stream.release();
    return deafReceiver;
  }
  const call = new ServerCall(context, stream, callHead, client);
  call.start();
  return call;
}

/** For requests that were refused by their head. */
const deafReceiver: StreamReceiver = {
  onData() {},
  onEnd() {},
  onReset() {},
  onWritable() {},
  heldBytes: 0,
  missingBytes: 0,
};

class ServerCall implements Call, StreamReceiver, MessageSink, DeadlineEntry {
  readonly #context: CallContext;
  readonly #stream: Stream;
  readonly #head: CallHead;
  readonly #reader: MessageReader;
  readonly peer: Peer;
  #listener: CallListener | undefined = undefined;
  #state: CallState = CallState.Running;
  #headersSent = false;
  /** Bytes of the message of a unary call: it is at work until it is answered. */
  #workBytes = 0;
  readonly #begunMs: number;

  deadlineTick = 0;
  deadlineNext: DeadlineEntry | undefined = undefined;
  deadlinePrevious: DeadlineEntry | undefined = undefined;

  constructor(context: CallContext, stream: Stream, head: CallHead, { peer, held }: Client) {
    this.#context = context;
    this.#stream = stream;
    this.#head = head;
    this.peer = peer;
    this.#reader = new MessageReader(context.receiveBytesMax, held);
    this.#begunMs = context.counts.begin(head.counted, head.clientVersion);
  }

  /** Hands the call to the service. */
  start(): void {
    const { deadlineMs } = this.#head;
    if (deadlineMs !== undefined) this.#context.deadlines.add(this, this.#context.clock() + deadlineMs);
    this.#listener = this.#context.service(this);
  }

  // What the service sees (Call). -------------------------------------------------------------------------------------

  get path(): string {
    return this.#head.path;
  }

  get metadata(): Metadata {
    return this.#head.metadata;
  }

  get deadlineMs(): number | undefined {
    return this.#head.deadlineMs;
  }

  get unsentBytes(): number {
    return this.#stream.queuedBytes;
  }

  reply(message: Uint8Array): void {
    if (!this.#mayEnd(GrpcCode.Ok)) return;
    this.#context.counts.messageSent(this.#head.counted.slot, message.length);
    if (this.#headersSent || this.#head.gzip) {
      this.#send(message, false);
      this.#stream.end(trailersOk);
    } else {
      writePrefix(0, message.length);
      this.#stream.respond(responseHeaders, prefix, message, trailersOk, false);
    }
    this.#stream.release();
  }

  sendMessage(message: Uint8Array, given = false, head?: Uint8Array): boolean {
    if (this.#state !== CallState.Running) return false;
    this.#context.counts.messageSent(this.#head.counted.slot, message.length + (head?.length ?? 0));
    return this.#send(message, given, head);
  }

  end(code: number, text: string): void {
    if (!this.#mayEnd(code)) return;
    if (code !== GrpcCode.Ok) this.#context.counts.refused(this.#head.counted.slot, text);
    this.#sendStatus(code, text);
    this.#stream.release();
  }

  // What the stream brings (StreamReceiver). --------------------------------------------------------------------------

  onData(bytes: Uint8Array, from: number, to: number): void {
    if (this.#state === CallState.Running) this.#reader.read(bytes, from, to, this);
  }

  onEnd(_trailers: readonly HeaderField[]): void {
    if (this.#state !== CallState.Running) return;
    if (this.#reader.midMessage) this.#refuse(GrpcCode.Internal, 'unexpected EOF');
    else this.#listener?.halfClose();
  }

  onReset(cause: ResetCause): void {
    this.#cancel(cause === 'peer' ? 'client' : cause);
  }

  onWritable(): void {
    if (this.#state === CallState.Running) this.#listener?.drain?.();
  }

  get heldBytes(): number {
    return this.#state === CallState.Running ? this.#reader.heldBytes + this.#workBytes : 0;
  }

  get missingBytes(): number {
    return this.#reader.missingBytes;
  }

  // What the bytes bring (MessageSink). -------------------------------------------------------------------------------

  onMessage(flag: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (!this.#head.counted.isStream) this.#workBytes += prefixBytes + to - from;
    const message = bytes.subarray(from, to);
    if (flag === 0) this.#received(message);
    else this.#compressed(flag, message);
    return this.#state === CallState.Running;
  }

  onTooLarge(length: number): void {
    const max = this.#context.receiveBytesMax;
    this.#refuse(GrpcCode.ResourceExhausted, `grpc: received message larger than max (${length} vs. ${max})`);
  }

  onNoRoom(): void {
    this.#refuse(GrpcCode.ResourceExhausted, 'kvorum: too many unfinished messages');
  }

  /** The wheel's word (DeadlineEntry). */
  deadlinePassed(): void {
    if (this.#state !== CallState.Running) return;
    this.#sendStatus(GrpcCode.DeadlineExceeded, 'context deadline exceeded');
    this.#cancel('deadline');
  }

  // -------------------------------------------------------------------------------------------------------------------

  #received(message: Uint8Array): void {
    this.#context.counts.messageReceived(this.#head.counted.slot, message.length);
    this.#listener?.message(message);
  }

  /** Ends the call for the service. False: it had ended, and its handler has now stopped. */
  #mayEnd(code: number): boolean {
    if (this.#state === CallState.Cancelled) this.#stream.release();
    if (this.#state !== CallState.Running) return false;
    this.#state = CallState.Ended;
    this.#context.counts.end(this.#head.counted.slot, code, this.#begunMs);
    this.#context.deadlines.remove(this);
    this.#reader.drop();
    return true;
  }

  #cancel(reason: CancelReason, code: number = cancelCode(reason)): void {
    if (this.#state !== CallState.Running) return;
    this.#state = CallState.Cancelled;
    const { counts } = this.#context;
    counts.end(this.#head.counted.slot, code, this.#begunMs);
    if (reason === 'protocol') counts.streamFailed({ path: this.path, direction: 'receive' });
    if (reason === 'slow-reader') counts.streamFailed({ path: this.path, direction: 'send' });
    this.#context.deadlines.remove(this);
    this.#reader.drop();
    this.#listener?.cancel(reason);
  }

  /** Ends the call over something that the client sent. */
  #refuse(code: number, text: string): void {
    this.#sendStatus(code, text);
    this.#cancel('protocol', code);
  }

  #sendStatus(code: number, text: string): void {
    if (this.#headersSent) this.#stream.end(trailers(code, text));
    else this.#stream.sendHeaders(trailersOnly(code, text), true);
  }

  #send(message: Uint8Array, given: boolean, head = EMPTY_BYTES): boolean {
    const whole = this.#head.gzip && head.length > 0 ? concatBytes(head, message) : message;
    const packed = this.#head.gzip ? pack(whole) : undefined;
    if (!this.#headersSent) {
      this.#headersSent = true;
      this.#stream.sendHeaders(this.#head.gzip ? responseHeadersGzip : responseHeaders, false);
    }
    if (packed !== undefined) {
      writePrefix(1, packed.length);
      return this.#stream.sendData(prefix, packed, true);
    }
    writePrefix(0, head.length + message.length);
    if (head.length === 0) return this.#stream.sendData(prefix, message, given);
    const beginning = starts[head.length];
    if (beginning === undefined) return this.#stream.sendData(concatBytes(prefix, head), message, given);
    copyBytes(head, start, prefixBytes);
    return this.#stream.sendData(beginning, message, given);
  }

  #compressed(flag: number, message: Uint8Array) {
    if (flag !== 1) return this.#refuse(GrpcCode.Internal, `grpc: received unexpected payload format ${flag}`);
    if (!this.#head.gzip) {
      return this.#refuse(GrpcCode.Internal, 'grpc: compressed flag set with identity or empty encoding');
    }
    const max = this.#context.receiveBytesMax;
    const unpacked = unpack(message, max);
    if (unpacked === 'too-large') {
      const text = `grpc: received message after decompression larger than max ${max}`;
      return this.#refuse(GrpcCode.ResourceExhausted, text);
    }
    if (unpacked instanceof Uint8Array) this.#received(unpacked);
    else this.#refuse(GrpcCode.Internal, `grpc: failed to decompress the received message: ${unpacked.error}`);
  }
}

function writePrefix(flag: number, length: number): void {
  prefix[0] = flag;
  prefix[1] = length >>> 24;
  prefix[2] = length >>> 16;
  prefix[3] = length >>> 8;
  prefix[4] = length;
}
