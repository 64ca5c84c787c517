/**
 * A socket that hands on what it reads in small pieces, one in a round of the event loop.
 *
 *     socket --64 KiB--> [ piece | piece | … ] --a piece a round--> node:http
 *            <------------------------------------------------------
 *
 * node:http parses all that a read brings at once: 64 KiB of pipelined requests are 1,500 of them, and nobody else is
 * served for as long as they take. So pieces are small where requests may begin, none is handed on while a few requests
 * wait for their answers, and a connection that sends without a break gets its share of the loop (loop-share.ts) and no
 * more. While pieces wait, nothing is read from the socket.
 *
 * Invariant: octets leave in the order in which they came, and the end behind them.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { LoopShare } from './loop-share.js';

/** A piece of a request's body, and one that may hold the heads of several requests. */
const bodyPieceBytes = 8 * 1024;
export const headPieceBytes = 1024;

/** Who sends without a break gets an eighth of the loop: parsing is dear. */
const restRatio = 7;

/** Requests of one connection that may wait for their answers before the next piece is looked at. */
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
  /** Nothing that arrives is read any more. */
  #deaf = false;
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

  /** A request has been read of what was handed on; say when its answer has left. */
  begun(request: { readonly complete: boolean }): void {
    this.#request = request;
    this.#unanswered += 1;
  }

  answered(): void {
    this.#unanswered -= 1;
    this.#handOn();
  }

  /** Reads no more. What was written leaves, and the other end has `lingerMs` to read it. */
  hangUp(lingerMs: number): void {
    if (this.#deaf) return;
    this.#deaf = true;
    this.#waiting = undefined;
    this.socket.pause();
    this.end();
    const timeout = setTimeout(() => this.destroy(), lingerMs);
    this.once('close', () => clearTimeout(timeout));
  }

  setTimeout(timeoutMs: number, listener?: () => void): this {
    if (listener !== undefined) this.once('timeout', listener);
    this.socket.setTimeout(timeoutMs);
    return this;
  }

  /** Closes when everything that was written has left. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /**
   * Gives the socket back, paused, with what has been read of it and not been handed on. Its errors end nothing but
   * itself: whoever gets it may not listen yet.
   */
  release(): Buffer {
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
    const inBody = this.#request?.complete === false;
    if (!inBody && this.#unanswered >= unansweredMax) return;
    const pieceBytes = inBody ? bodyPieceBytes : headPieceBytes;
    this.#isWanted = false;
    if (waiting.length <= pieceBytes) {
      this.#waiting = undefined;
      this.push(waiting);
      return;
    }
    this.#waiting = waiting.subarray(pieceBytes);
    this.#yields = true;
    const beganMs = performance.now();
    this.push(waiting.subarray(0, pieceBytes));
    const restMs = this.#share.rest(beganMs, performance.now());
    if (restMs > 0) setTimeout(() => this.#goOn(), restMs);
    else setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    this.#yields = false;
    this.#handOn();
  }
}

function ignore(): void {}
