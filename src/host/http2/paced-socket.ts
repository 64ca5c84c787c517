/**
 * A socket that hands on what it reads in small pieces, one in a round of the event loop.
 *
 *     socket --64 KiB--> [ head | body … | head | … ] --a piece a round--> node:http
 *            <-------------------------------------------------------------
 *
 * node:http parses all that a read brings at once: 64 KiB of pipelined requests are 1,500 of them, and nobody else is
 * served for as long as they take; those that have no answer when the connection breaks cost as much again. So a piece
 * ends with a request's head, the next head waits until the answer is out (as in Go's server), and a connection that
 * sends without a break gets its share of the loop (loop-share.ts) and no more. While pieces wait, hardly anything is
 * read from the socket: just enough to notice that a client with little to say has gone.
 *
 * Invariant: octets leave in the order in which they came, and the end behind them or instead of them.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { LoopShare } from './loop-share.js';

/** A piece of a request's body, and one of a head. */
const bodyPieceBytes = 8 * 1024;
export const headPieceBytes = 1024;
/** What a head ends with. A chunked body does too: what is behind it is no part of its last piece. */
const emptyLine = Buffer.from('\r\n\r\n');

/** Who sends without a break gets an eighth of the loop: parsing is dear. */
const restRatio = 7;

/** Requests of one connection that may wait for their answers even if their heads come in odd pieces. */
const unansweredMax = 8;

export class PacedSocket extends Duplex {
  /** The socket itself: addresses, certificates. */
  readonly socket: Socket;
  #waiting: Buffer | undefined = undefined;
  #atEnd = false;
  /** The stream's reader has room. */
  #isWanted = false;
  #yields = false;
  readonly #share = new LoopShare(restRatio);
  /** The request that was read last, and how many have no whole answer. */
  #request: { readonly complete: boolean } | undefined = undefined;
  #unanswered = 0;
  /** How much of the piece that was handed on last stands behind a head. */
  #behindHeadBytes = 0;
  /** What is to come of the body, as far as its length is known. */
  #bodyBytes = 0;
  /** Nothing that arrives is read any more. */
  #deaf = false;
  /** How long the other end has to read what was written. */
  #lingerMs = 0;
  #lingering: NodeJS.Timeout | undefined = undefined;
  readonly #onData = (chunk: Buffer): void => {
    this.#waiting = this.#waiting === undefined ? chunk : Buffer.concat([this.#waiting, chunk]);
    this.socket.pause();
    this.#handOn();
  };
  readonly #onEnd = (): void => {
    this.#atEnd = true;
    this.#handOn();
  };
  readonly #onClose = (): void => {
    this.destroy();
  };
  readonly #onTimeout = (): void => {
    this.emit('timeout');
  };

  readonly #onError = (error: Error): void => {
    this.destroy(error);
  };

  /** `socket` must be paused; it belongs to this stream from now on. */
  constructor(socket: Socket) {
    super({ allowHalfOpen: true });
    this.socket = socket;
    socket.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose).on('timeout', this.#onTimeout);
    socket.on('error', this.#onError);
  }

  /** Octets that were written to the socket. */
  get bytesWritten(): number {
    return this.socket.bytesWritten;
  }

  /** A request has been read of what was handed on; say when its answer has left. `bodyBytes`: 0 if not known. */
  begun(request: { readonly complete: boolean }, bodyBytes: number): void {
    this.#request = request;
    this.#unanswered += 1;
    this.#bodyBytes = bodyBytes - this.#behindHeadBytes;
  }

  answered(): void {
    this.#unanswered -= 1;
    this.#handOn();
  }

  /** Reads no more. Once everything is written (`destroySoon`), the other end has `lingerMs` to read it. */
  deafen(lingerMs: number): void {
    this.#deaf = true;
    this.#lingerMs = lingerMs;
    this.#waiting = undefined;
    this.socket.pause();
  }

  setTimeout(timeoutMs: number, listener?: () => void): this {
    if (listener !== undefined) this.once('timeout', listener);
    this.socket.setTimeout(timeoutMs);
    return this;
  }

  /** Closes when everything that was written has left; if much is unread, only when it can have arrived. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.#deaf) this.#lingering ??= setTimeout(() => this.destroy(), this.#lingerMs);
    else if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /**
   * Gives the socket back with what has been read of it and not been handed on. It is paused, and whoever gets it has
   * to resume it; until they listen, its errors end nothing but itself.
   */
  release(): Buffer {
    this.#deaf = true;
    this.socket.pause();
    this.socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose);
    this.socket.off('timeout', this.#onTimeout).off('error', this.#onError).setTimeout(0);
    this.socket.on('error', ignore);
    const rest = this.#waiting ?? Buffer.alloc(0);
    this.#waiting = undefined;
    return rest;
  }

  override _read(): void {
    this.#isWanted = true;
    this.#handOn();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.socket.write(chunk, encoding, done);
  }

  override _writev(
    chunks: { readonly chunk: Buffer | string; readonly encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.socket.cork();
    chunks.forEach(({ chunk, encoding }, at) => {
      if (at === chunks.length - 1) this.socket.write(chunk, encoding, done);
      else this.socket.write(chunk, encoding);
    });
    this.socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#lingering);
    this.socket.destroy();
    done(error);
  }

  #handOn(): void {
    if (!this.#isWanted || this.#yields || this.#deaf) return;
    const waiting = this.#waiting;
    if (waiting === undefined) {
      if (this.#atEnd) this.push(null);
      else this.socket.resume();
      return;
    }
    const bytes = this.#pieceBytes(waiting);
    if (bytes === 0) return this.#listen(waiting);
    this.#isWanted = false;
    this.#yields = true;
    const beganMs = performance.now();
    this.#pushFirst(waiting, bytes);
    // A body that came with its head does not wait for the next round.
    const body = this.#waiting;
    if (body !== undefined && this.#inBody) this.#pushFirst(body, this.#pieceBytes(body));
    if (this.#waiting === undefined) return this.#goOn();
    const restMs = this.#share.rest(beganMs, performance.now());
    if (restMs > 0) setTimeout(() => this.#goOn(), restMs);
    else setImmediate(() => this.#goOn());
  }

  /** While nothing may be handed on: whoever goes meanwhile wants no answer any more, as node:http has it. */
  #listen(waiting: Buffer): void {
    if (this.#atEnd) {
      this.#waiting = undefined;
      this.push(null);
    } else if (waiting.length < bodyPieceBytes) this.socket.resume();
  }

  get #inBody(): boolean {
    return this.#request?.complete === false;
  }

  #pushFirst(waiting: Buffer, bytes: number): void {
    this.#waiting = bytes === waiting.length ? undefined : waiting.subarray(bytes);
    if (this.#inBody) this.#bodyBytes -= bytes;
    this.push(this.#waiting === undefined ? waiting : waiting.subarray(0, bytes));
  }

  /** How much of what waits may be handed on now. */
  #pieceBytes(waiting: Buffer): number {
    if (this.#unanswered >= unansweredMax) return 0;
    const inBody = this.#inBody;
    if (inBody && this.#bodyBytes > 0) return Math.min(waiting.length, bodyPieceBytes, this.#bodyBytes);
    const bytesMax = inBody ? bodyPieceBytes : headPieceBytes;
    const few = waiting.length <= bytesMax ? waiting : waiting.subarray(0, bytesMax);
    const first = few.indexOf(emptyLine);
    this.#behindHeadBytes = 0;
    if (first === -1) return few.length;
    if (!inBody && this.#unanswered > 0) return 0;
    const end = first + emptyLine.length;
    if (inBody || few.indexOf(emptyLine, end) !== -1) return end;
    // What is behind a head is its body, as long as it holds no other head.
    this.#behindHeadBytes = few.length - end;
    return few.length;
  }

  #goOn(): void {
    this.#yields = false;
    this.#handOn();
  }
}

function ignore(): void {}
