/**
 * One RPC on one HTTP exchange: JSON objects in become messages for the service, its messages become JSON.
 *
 *     unary           first object -> message, half-close                reply -> the whole answer
 *     server stream   first object -> message, half-close                each message -> {"result":…}\n
 *     bidirectional   each object -> message; body's end -> half-close   each message -> {"result":…}\n
 *
 *                  reply, end                          nobody hears anything any more
 *     Running ---------------------> Ended  <------.
 *        |                                         | reply, end: the handler has stopped
 *        `-- gone, deadline, bad body --> Cancelled
 *
 * Invariants: the listener hears `cancel` at most once, and nothing after it or after the call has ended; the client
 * gets exactly one answer, or is cut off; no timer outlives the exchange. What the body holds behind the object of a
 * unary call is ignored, as in etcd.
 *
 * A body must arrive in time: of a unary call all of it, of a stream the first object and the rest of each object that
 * has begun. Between two objects a stream may be silent for ever.
 */
import { concatBytes, EMPTY_BYTES } from '../../base/bytes.js';
import { GrpcCode } from '../../wire/errors.js';
import { type MethodInfo, MethodKind } from '../../wire/methods.js';
import type { Call, CallListener, CancelReason, Metadata, Peer, Service } from '../grpc/call.js';
import { type BodyListener, bodyTimeoutMs, type Exchange, type HeaderPair, unsentBytesMax } from './exchange.js';
import { messageFromJson, messageToJson, messageToJsonPieces } from './json.js';
import { JsonError } from './json-reader.js';
import { JsonSplitter, type ObjectSink } from './json-splitter.js';
import { httpStatusOf } from './status.js';

/** What all calls of a gateway share. */
export interface GatewayContext {
  readonly service: Service;
  /** Largest request message, as protobuf. */
  readonly receiveBytesMax: number;
}

const jsonType: HeaderPair = ['Content-Type', 'application/json'];
/** Says that a gRPC call was behind the answer. */
const forwardedType: HeaderPair = ['Grpc-Metadata-Content-Type', 'application/grpc'];

/** The JSON of a message may take this many times its bytes: base64, field names, white space. */
export const jsonExpansionMax = 2;

/** Messages from this size on are answered in pieces. */
const largeBytes = 256 * 1024;

const timerMsMax = 2 ** 31 - 1;

const CallState = { Running: 0, Cancelled: 1, Ended: 2 } as const;
type CallState = (typeof CallState)[keyof typeof CallState];

/** Refuses a request for which no call was made, or whose call had no message yet. */
export function refuse(exchange: Exchange, code: number, text: string, further: readonly HeaderPair[] = []): void {
  const challenge: HeaderPair[] =
    code === GrpcCode.Unauthenticated && isFieldValue(text) ? [['WWW-Authenticate', text]] : [];
  // Clients of etcd 3.6 read `code` and `message`; those made for 3.4 and 3.5 know the text as `error` too.
  const body = JSON.stringify({ error: text, message: text, code });
  exchange.respond(httpStatusOf(code), [jsonType, ...further, ...challenge], body);
}

function isFieldValue(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

export class GatewayCall implements Call, BodyListener, ObjectSink {
  readonly path: string;
  readonly metadata: Metadata;
  readonly deadlineMs: number | undefined;
  readonly peer: Peer;
  readonly #context: GatewayContext;
  readonly #exchange: Exchange;
  readonly #info: MethodInfo;
  readonly #splitter: JsonSplitter;
  #state: CallState = CallState.Running;
  /** The service has been called. */
  #opened = false;
  #listener: CallListener | undefined = undefined;
  #bodyEnded = false;
  /** A call that takes one message has it. */
  #received = false;
  /** The head of a streamed answer is out. */
  #begun = false;
  #onlyMessage: Uint8Array | undefined = undefined;
  /** What is left of a large answer; undefined also when the client is gone. */
  #pieces: Generator<string> | undefined = undefined;
  #deadline: NodeJS.Timeout | undefined = undefined;
  #patience: NodeJS.Timeout | undefined = undefined;

  constructor(
    context: GatewayContext,
    exchange: Exchange,
    info: MethodInfo,
    metadata: Metadata,
    deadlineMs: number | undefined,
  ) {
    this.#context = context;
    this.#exchange = exchange;
    this.#info = info;
    this.path = info.path;
    this.metadata = metadata;
    this.deadlineMs = deadlineMs;
    // Over the gateway a client's certificate says nothing.
    this.peer = { ...exchange.peer, commonName: undefined };
    this.#splitter = new JsonSplitter(context.receiveBytesMax * jsonExpansionMax);
  }

  /** Begins to read the request. */
  start(): void {
    if (this.deadlineMs !== undefined) {
      this.#deadline = setTimeout(() => this.#deadlinePassed(), Math.min(this.deadlineMs, timerMsMax));
    }
    this.#awaitBody();
    if (this.#info.kind === MethodKind.Bidirectional) this.#open();
    this.#exchange.read(this);
  }

  // What the service sees (Call). -------------------------------------------------------------------------------------

  get unsentBytes(): number {
    return this.#exchange.unsentBytes;
  }

  reply(message: Uint8Array): void {
    if (this.#info.kind === MethodKind.Unary) this.#onlyMessage = message;
    else this.sendMessage(message);
    this.end(GrpcCode.Ok, '');
  }

  sendMessage(message: Uint8Array, _given = false, head: Uint8Array = EMPTY_BYTES): boolean {
    if (this.#state !== CallState.Running) return false;
    const whole = head.length === 0 ? message : concatBytes(head, message);
    if (this.#info.kind === MethodKind.Unary) {
      this.#onlyMessage = whole.slice();
      return true;
    }
    if (this.#exchange.unsentBytes > unsentBytesMax) {
      this.#exchange.abort();
      this.#cancel('slow-reader');
      return false;
    }
    this.#beginStream();
    return this.#exchange.write(`{"result":${messageToJson(this.#info.response, whole)}}\n`);
  }

  end(code: number, text: string): void {
    if (this.#state === CallState.Cancelled) this.#exchange.release();
    if (this.#state !== CallState.Running) return;
    this.#state = CallState.Ended;
    this.#answer(code, text);
    this.#settle();
    if (this.#pieces === undefined) this.#exchange.release();
  }

  // What the exchange brings (BodyListener). --------------------------------------------------------------------------

  onData(bytes: Uint8Array): void {
    if (this.#state !== CallState.Running || this.#received) return;
    this.#splitter.read(bytes, this);
    if (this.#splitter.midObject && this.#state === CallState.Running) this.#awaitBody();
  }

  onEnd(): void {
    this.#bodyEnded = true;
    this.#stopWaiting();
    if (this.#state !== CallState.Running) return;
    if (this.#splitter.midObject) this.#fail(GrpcCode.InvalidArgument, 'unexpected EOF', 'protocol');
    else if (this.#info.kind === MethodKind.Bidirectional) this.#listener?.halfClose();
    else if (!this.#received) this.#receive(EMPTY_BYTES); // no body at all is the empty message
  }

  onGone(reason: CancelReason): void {
    this.#bodyEnded = true;
    this.#stopWaiting();
    this.#cancel(reason);
    if (this.#pieces === undefined) return;
    this.#pieces = undefined;
    this.#exchange.release();
  }

  onDrain(): void {
    if (this.#state === CallState.Running) this.#listener?.drain?.();
  }

  get heldBytes(): number {
    return this.#splitter.heldBytes;
  }

  // What the body brings (ObjectSink). --------------------------------------------------------------------------------

  onObject(json: Uint8Array): boolean {
    this.#stopWaiting();
    let message: Uint8Array;
    try {
      message = messageFromJson(this.#info.request, json);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      this.#fail(GrpcCode.InvalidArgument, error.message, 'protocol');
      return false;
    }
    this.#receive(message);
    return this.#state === CallState.Running && !this.#received;
  }

  onTooLarge(length: number): void {
    const max = this.#context.receiveBytesMax;
    const text = `grpc: received message larger than max (${length} vs. ${max})`;
    this.#fail(GrpcCode.ResourceExhausted, text, 'protocol');
  }

  onTooMany(marks: number): void {
    this.#fail(
      GrpcCode.ResourceExhausted,
      `kvorum: JSON of more than ${marks} brackets, colons and commas`,
      'protocol',
    );
  }

  onOther(character: string): void {
    this.#fail(GrpcCode.InvalidArgument, `proto: syntax error (line 1:1): unexpected token ${character}`, 'protocol');
  }

  // -------------------------------------------------------------------------------------------------------------------

  #open(): void {
    this.#opened = true;
    this.#listener = this.#context.service(this);
  }

  #receive(message: Uint8Array): void {
    if (message.length > this.#context.receiveBytesMax) {
      this.onTooLarge(message.length);
      return;
    }
    const isStream = this.#info.kind === MethodKind.Bidirectional;
    if (!isStream) {
      this.#received = true;
      this.#open();
    }
    if (this.#state === CallState.Running) this.#listener?.message(message);
    if (this.#state === CallState.Running && !isStream) this.#listener?.halfClose();
  }

  #beginStream(): void {
    if (!this.#begun) this.#exchange.begin(200, [jsonType, forwardedType]);
    this.#begun = true;
  }

  /** Sends what ends the answer. */
  #answer(code: number, text: string): void {
    const further = this.#opened ? [forwardedType] : [];
    const isUnary = this.#info.kind === MethodKind.Unary;
    if (code === GrpcCode.Ok && isUnary) {
      if (this.#onlyMessage === undefined) return refuse(this.#exchange, GrpcCode.Internal, 'no response message');
      if (this.#onlyMessage.length >= largeBytes && this.#exchange.takesPieces) return this.#answerInPieces(further);
      const json = messageToJson(this.#info.response, this.#onlyMessage);
      this.#exchange.respond(200, [jsonType, ...further], json);
    } else if (code === GrpcCode.Ok) {
      this.#beginStream();
      this.#exchange.end();
    } else if (isUnary || !this.#opened) {
      refuse(this.#exchange, code, text, further);
    } else {
      const line = `${JSON.stringify({ error: { code, message: text } })}\n`;
      if (!this.#begun) return this.#exchange.respond(httpStatusOf(code), [jsonType, ...further], line);
      this.#exchange.write(line);
      this.#exchange.end();
    }
  }

  /** A large answer is made and queued a piece at a time: other clients' calls come between. */
  #answerInPieces(further: readonly HeaderPair[]): void {
    // What came from a ring is valid during the call only.
    this.#pieces = messageToJsonPieces(this.#info.response, (this.#onlyMessage ?? EMPTY_BYTES).slice());
    this.#onlyMessage = undefined;
    this.#exchange.begin(200, [jsonType, ...further]);
    this.#writePiece();
  }

  #writePiece(): void {
    if (this.#pieces === undefined) return;
    const { value, done } = this.#pieces.next();
    if (done !== true) {
      this.#exchange.write(value);
      setImmediate(() => this.#writePiece());
      return;
    }
    this.#pieces = undefined;
    this.#exchange.end();
    this.#exchange.release();
  }

  #deadlinePassed(): void {
    this.#fail(GrpcCode.DeadlineExceeded, 'context deadline exceeded', 'deadline');
  }

  /** Ends the call with an error that is not its service's. */
  #fail(code: number, text: string, reason: CancelReason): void {
    if (this.#state !== CallState.Running) return;
    this.#state = CallState.Cancelled; // first of all: sending may end the exchange, and be heard of here
    this.#answer(code, text);
    this.#tellCancelled(reason);
  }

  #cancel(reason: CancelReason): void {
    if (this.#state !== CallState.Running) return;
    this.#state = CallState.Cancelled;
    this.#tellCancelled(reason);
  }

  #tellCancelled(reason: CancelReason): void {
    this.#settle();
    if (this.#opened) this.#listener?.cancel(reason);
    else this.#exchange.release();
  }

  /** The call is over: the rest of the body may still come, but not for ever. */
  #settle(): void {
    clearTimeout(this.#deadline);
    if (!this.#bodyEnded && !this.#exchange.bodyComplete) this.#awaitBody();
    else this.#stopWaiting();
  }

  #awaitBody(): void {
    this.#patience ??= setTimeout(() => this.#outOfPatience(), bodyTimeoutMs);
  }

  #stopWaiting(): void {
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  #outOfPatience(): void {
    this.#patience = undefined;
    this.#bodyEnded = true;
    const text = 'request body took too long';
    if (this.#state === CallState.Running) this.#fail(GrpcCode.DeadlineExceeded, text, 'protocol');
    this.#exchange.abort();
  }
}
