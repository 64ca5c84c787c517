/**
 * The HTTP/2 rim: a stream whose request is no gRPC call, as an exchange.
 */
import { EMPTY_BYTES, utf8Encode } from '../../base/bytes.js';
import type { Peer } from '../grpc/call.js';
import { ErrorCode } from '../http2/error-codes.js';
import { HeaderSet } from '../http2/hpack/encoder.js';
import type { RequestHead } from '../http2/request-head.js';
import type { ResetCause, Stream, StreamReceiver } from '../http2/stream.js';
import { BodyGate } from './body-gate.js';
import type { BodyListener, Exchange, HeaderPair } from './exchange.js';

/** What a body of unknown length is taken to miss while something in it is not whole: half a stream's window. */
const pieceBytes = 32 * 1024;

/** Ends an answer behind its last byte. */
const noTrailers = new HeaderSet([], [], true);

export class Http2Exchange implements Exchange, StreamReceiver {
  readonly takesPieces = true;
  readonly headers: readonly HeaderPair[];
  readonly peer: Peer;
  readonly #stream: Stream;
  readonly #head: RequestHead;
  readonly #gate = new BodyGate();
  #added: readonly HeaderPair[] = [];
  #receivedBytes = 0;

  constructor(stream: Stream, head: RequestHead, peer: Peer) {
    this.#stream = stream;
    this.#head = head;
    this.peer = peer;
    this.headers = head.fields.map(({ name, value }) => [name, value]);
    if (stream.remoteEnded) this.#gate.end();
  }

  // What the request is and how it is answered (Exchange). ------------------------------------------------------------

  get method(): string {
    return this.#head.method;
  }

  get target(): string {
    return this.#head.path;
  }

  get host(): string {
    return this.#head.authority || (this.headers.find(([name]) => name === 'host')?.[1] ?? '');
  }

  get secure(): boolean {
    return this.#head.scheme === 'https';
  }

  get bodyComplete(): boolean {
    return this.#gate.complete;
  }

  get unsentBytes(): number {
    return this.#stream.queuedBytes;
  }

  read(listener: BodyListener): void {
    this.#gate.read(listener);
  }

  addHeaders(headers: readonly HeaderPair[]): void {
    this.#added = [...this.#added, ...headers];
  }

  respond(status: number, headers: readonly HeaderPair[], body: string): void {
    const bytes = utf8Encode(body);
    const length: HeaderPair = ['content-length', String(bytes.length)];
    const set = this.#headerSet(status, [...headers, length]);
    if (bytes.length === 0 || this.method === 'HEAD') this.#stream.sendHeaders(set, true);
    else this.#stream.respond(set, EMPTY_BYTES, bytes, noTrailers, true);
    this.#ended();
  }

  begin(status: number, headers: readonly HeaderPair[]): void {
    this.#stream.sendHeaders(this.#headerSet(status, headers), false);
  }

  write(text: string): boolean {
    return this.#stream.sendData(EMPTY_BYTES, utf8Encode(text), true);
  }

  end(): void {
    this.#stream.end(noTrailers);
    this.#ended();
  }

  abort(): void {
    this.#gate.close();
    this.#stream.reset(ErrorCode.Cancel);
  }

  release(): void {
    this.#stream.release();
  }

  // What the stream brings (StreamReceiver). --------------------------------------------------------------------------

  onData(bytes: Uint8Array, from: number, to: number): void {
    this.#receivedBytes += to - from;
    this.#gate.data(bytes.subarray(from, to));
  }

  onEnd(): void {
    this.#gate.end();
  }

  onReset(cause: ResetCause): void {
    this.#gate.gone(cause === 'peer' ? 'client' : cause);
  }

  onWritable(): void {
    this.#gate.drain();
  }

  /** A body of known length is one thing; otherwise each object is one in itself. */
  get heldBytes(): number {
    if (this.#stream.contentLeft < 0) return this.#gate.heldBytes;
    return this.#gate.complete ? 0 : this.#receivedBytes;
  }

  get missingBytes(): number {
    if (this.heldBytes === 0) return 0;
    return this.#stream.contentLeft < 0 ? pieceBytes : this.#stream.contentLeft;
  }

  // -------------------------------------------------------------------------------------------------------------------

  /** After our end nothing more of the request is read: the connection resets what is left of it. */
  #ended(): void {
    this.#gate.end();
  }

  #headerSet(status: number, headers: readonly HeaderPair[]): HeaderSet {
    const fields = [...this.#added, ...headers].map(([name, value]) => [name.toLowerCase(), value] as const);
    return new HeaderSet([[':status', String(status)], ...fields], ['content-type']);
  }
}
