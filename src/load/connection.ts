/**
 * One HTTP/2 connection that keeps a fixed number of unary gRPC calls outstanding, as cheaply as possible.
 *
 *   #fill        as many requests as there is room for are copied from a prepared one into one buffer: one write
 *   onHeaders    of the answers only the header blocks are looked into, for grpc-status
 *
 * It checks nothing that does not bear on whether a call succeeded.
 *
 * The calls' start times sit in a ring by stream number. Two calls would share a place if one waited while `ringSize`
 * later ones passed it; the place is cleared when its call ends, so that would be seen and ends the run.
 */
import { authorityOf, type FrameHandler, FrameSocket, readBufferBytes } from './frame-socket.js';
import { firstRequest, laterRequest, type PreparedRequest, windowDefault, writeUint31 } from './frames.js';
import type { RequestTemplate } from './requests.js';

const ringSize = 2 ** 20;
const streamWindowBytes = 2 ** 24;

export interface LoadConnectionOptions {
  /** `host:port`, or with TLS `https://host:port`. */
  readonly endpoint: string;
  /** All of one path. */
  readonly templates: readonly RequestTemplate[];
  /** Which of several is called next. */
  readonly chooseTemplate?: (() => number) | undefined;
  /** Starts no more than so many calls, the one that opens the connection included, until `allow` allows more. */
  readonly calls?: number;
  /** Chooses the number (in most requests: of the key) that the template writes into the next call. */
  readonly nextKey: () => number;
  /** Called for every finished call; calls of a connection are counted from 0 in the order of their start. */
  readonly finished: (grpcStatus: number, latencyMs: number, call: number) => void;
  /** Called once when the connection breaks. */
  readonly failed: (error: Error) => void;
}

export class LoadConnection implements FrameHandler {
  readonly #options: LoadConnectionOptions;
  readonly #socket: FrameSocket;
  readonly #startedMs = new Float64Array(ringSize).fill(Number.NaN);
  readonly #requests: readonly PreparedRequest[];
  readonly #longestBytes: number;
  /** The template of the next call. */
  #which = 0;
  readonly #freeBuffers: Buffer[] = [];
  #nextStream = 3;
  #outstanding = 0;
  #target = 0;
  #callsLeft: number;
  #sendWindow = windowDefault;
  #onIdle: (() => void) | undefined;

  private constructor(options: LoadConnectionOptions) {
    this.#options = options;
    this.#requests = options.templates.map(laterRequest);
    this.#longestBytes = Math.max(...this.#requests.map(({ bytes }) => bytes.length));
    this.#callsLeft = (options.calls ?? Number.POSITIVE_INFINITY) - 1;
    this.#socket = new FrameSocket(options.endpoint, streamWindowBytes, this);
  }

  /** Connects, exchanges settings and makes one call, which puts the header fields into the server's table. */
  static async open(options: LoadConnectionOptions): Promise<LoadConnection> {
    const connection = new LoadConnection(options);
    await connection.#socket.ready();
    const template = options.templates[0]!;
    const first = firstRequest({ path: template.path, authority: authorityOf(options.endpoint) }, template);
    template.write(first.bytes, first.bodyAt, options.nextKey());
    connection.#sendWindow -= first.dataBytes;
    connection.#outstanding = 1;
    connection.#startedMs[0] = performance.now();
    connection.#socket.write(first.bytes);
    await connection.drain();
    return connection;
  }

  /** Keeps `outstanding` calls in flight from now on. */
  run(outstanding: number): void {
    this.#target = outstanding;
    this.#fill(performance.now());
  }

  /** Allows so many calls beyond `calls`. */
  allow(calls: number): void {
    this.#callsLeft += calls;
    this.#fill(performance.now());
  }

  /** Starts no more calls and resolves when the last one has ended. */
  async drain(): Promise<void> {
    this.#target = 0;
    if (this.#outstanding === 0) return;
    await new Promise<void>(resolve => {
      this.#onIdle = resolve;
    });
  }

  close(): void {
    this.#socket.close();
  }

  /** Starts calls until the target or the connection's send window is reached; all of them start at `nowMs`. */
  #fill(nowMs: number): void {
    const { templates, chooseTemplate, nextKey } = this.#options;
    const target = Math.min(this.#target, this.#outstanding + this.#callsLeft);
    while (this.#outstanding < target && this.#sendWindow >= this.#requests[this.#which]!.dataBytes) {
      const buffer = this.#freeBuffers.pop() ?? Buffer.allocUnsafeSlow(readBufferBytes);
      let end = 0;
      const room = readBufferBytes - this.#longestBytes;
      while (this.#outstanding < target && end <= room) {
        const { bytes, bodyAt, secondIdAt, dataBytes } = this.#requests[this.#which]!;
        if (this.#sendWindow < dataBytes) break;
        buffer.set(bytes, end);
        writeUint31(buffer, end + 5, this.#nextStream);
        writeUint31(buffer, end + secondIdAt, this.#nextStream);
        templates[this.#which]!.write(buffer, end + bodyAt, nextKey());
        end += bytes.length;
        this.#startedMs[placeOf(this.#nextStream)] = nowMs;
        this.#nextStream += 2;
        this.#outstanding++;
        this.#callsLeft--;
        this.#sendWindow -= dataBytes;
        if (chooseTemplate !== undefined) this.#which = chooseTemplate();
      }
      this.#socket.write(buffer.subarray(0, end), () => this.#freeBuffers.push(buffer));
    }
  }

  onData(): void {}

  onHeaders(stream: number, grpcStatus: number | undefined, ends: boolean): void {
    if (!ends) return;
    const place = placeOf(stream);
    const startedMs = this.#startedMs[place]!;
    if (grpcStatus === undefined || Number.isNaN(startedMs)) {
      this.#socket.fail('a call ended without status, or twice');
      return;
    }
    this.#startedMs[place] = Number.NaN;
    this.#outstanding--;
    this.#options.finished(grpcStatus, this.#socket.nowMs - startedMs, stream >>> 1);
  }

  onReset(stream: number, code: number): void {
    // After its answer a server may reset a stream whose end it had not seen yet (§8.1): that call is over anyway.
    const ended = Number.isNaN(this.#startedMs[placeOf(stream)]!);
    if (!ended) this.#socket.fail(`stream ${stream} was reset with code ${code}`);
  }

  /** A request is smaller than the least window a stream can have: only the connection's counts. */
  onWindow(stream: number, bytes: number): void {
    if (stream === 0) this.#sendWindow += bytes;
  }

  onReadEnd(): void {
    this.#fill(this.#socket.nowMs);
    if (this.#outstanding === 0 && this.#target === 0) {
      this.#onIdle?.();
      this.#onIdle = undefined;
    }
  }

  onFailure(error: Error): void {
    this.#options.failed(error);
  }
}

/** Client streams have odd numbers. */
function placeOf(stream: number): number {
  return (stream >>> 1) & (ringSize - 1);
}
