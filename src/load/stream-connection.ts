/**
 * One HTTP/2 connection with many long gRPC streams of one method, as cheaply as possible: watches, keepalives.
 *
 *   send       a message becomes a DATA frame in a buffer; what was gathered leaves in one write when the bytes that
 *              were read have been dealt with, or by `flush`
 *   onData     messages that lie whole in a frame are handed out in place; only a message in pieces is copied
 *
 * Windows are kept in both directions: what a stream received is given back when half its window is used, as clients
 * do that are quick to read, and what may not be sent yet waits in order. A stream that ends is a failure.
 */
import { type FrameHandler, FrameSocket, readBufferBytes, windowUpdate } from './frame-socket.js';
import { type RequestHead, streamHeaders, windowDefault, writeUint31 } from './frames.js';

/** As large as grpc-go's own estimate of a fast connection may grow, or nearly. */
const streamWindowBytes = 2 ** 20;
const frameHeaderBytes = 9;
const grpcPrefixBytes = 5;
const messageBytesMax = 16_000;

export interface StreamConnectionOptions {
  /** `host:port`. */
  readonly endpoint: string;
  /** `/package.Service/Method`. */
  readonly path: string;
  /** The message bytes[start, end) on a stream, counted from 0 in the order of opening; valid during the call. */
  readonly onMessage: (stream: number, bytes: Buffer, start: number, end: number, nowMs: number) => void;
  /** Called once when the connection breaks or a stream ends. */
  readonly failed: (error: Error) => void;
}

export class StreamConnection implements FrameHandler {
  readonly #options: StreamConnectionOptions;
  readonly #socket: FrameSocket;
  readonly #head: RequestHead;
  readonly #freeBuffers: Buffer[] = [];
  /** Of a message that has not come whole: its beginning; by stream. */
  readonly #beginnings: (Buffer | undefined)[] = [];
  /** Bytes received and not given back yet, by stream. */
  readonly #received: number[] = [];
  /** Bytes that may be sent, by stream. */
  readonly #sendWindows: number[] = [];
  readonly #waiting: { stream: number; message: Uint8Array }[] = [];
  #sendWindow = windowDefault;
  #output: Buffer = Buffer.allocUnsafeSlow(readBufferBytes);
  #outputBytes = 0;

  private constructor(options: StreamConnectionOptions) {
    this.#options = options;
    this.#head = { path: options.path, authority: options.endpoint };
    this.#socket = new FrameSocket(options.endpoint, streamWindowBytes, this);
  }

  static async open(options: StreamConnectionOptions): Promise<StreamConnection> {
    const connection = new StreamConnection(options);
    await connection.#socket.ready();
    return connection;
  }

  /** Opens the next stream. */
  openStream(): void {
    const stream = this.#sendWindows.length;
    this.#beginnings.push(undefined);
    this.#received.push(0);
    this.#sendWindows.push(this.#socket.streamSendWindow);
    const headers = streamHeaders(numberOf(stream), this.#head);
    this.#room(headers.length);
    this.#output.set(headers, this.#outputBytes);
    this.#outputBytes += headers.length;
  }

  /** Sends a message as soon as the windows allow it; it is copied now or kept as it is. */
  send(stream: number, message: Uint8Array): void {
    if (message.length > messageBytesMax) throw new Error('the message does not fit into one frame');
    if (this.#waiting.length > 0 || !this.#put(stream, message)) this.#waiting.push({ stream, message });
  }

  /** Writes what was gathered; needed only outside `onMessage`. */
  flush(): void {
    if (this.#outputBytes === 0) return;
    const buffer = this.#output;
    this.#socket.write(buffer.subarray(0, this.#outputBytes), () => this.#freeBuffers.push(buffer));
    this.#output = this.#freeBuffers.pop() ?? Buffer.allocUnsafeSlow(readBufferBytes);
    this.#outputBytes = 0;
  }

  close(): void {
    this.#socket.close();
  }

  /** Makes the frame of a message when the windows have room for it. */
  #put(stream: number, message: Uint8Array): boolean {
    const payload = grpcPrefixBytes + message.length;
    if (payload > this.#sendWindow || payload > this.#sendWindows[stream]!) return false;
    this.#sendWindow -= payload;
    this.#sendWindows[stream]! -= payload;
    this.#room(frameHeaderBytes + payload);
    const at = this.#outputBytes;
    writeUint31(this.#output, at, payload << 8); // Three bytes of length; the fourth is the type: DATA is 0.
    this.#output[at + 4] = 0;
    writeUint31(this.#output, at + 5, numberOf(stream));
    this.#output[at + frameHeaderBytes] = 0;
    writeUint31(this.#output, at + frameHeaderBytes + 1, message.length);
    this.#output.set(message, at + frameHeaderBytes + grpcPrefixBytes);
    this.#outputBytes = at + frameHeaderBytes + payload;
    return true;
  }

  #room(bytes: number): void {
    if (this.#outputBytes + bytes > readBufferBytes) this.flush();
  }

  onData(number: number, bytes: Buffer, start: number, end: number): void {
    const stream = number >>> 1;
    const received = this.#received[stream]! + end - start;
    this.#received[stream] = received;
    if (received > streamWindowBytes / 2) {
      this.#received[stream] = 0;
      this.#socket.write(windowUpdate(number, received));
    }
    const beginning = this.#beginnings[stream];
    if (beginning === undefined) {
      this.#messages(stream, bytes, start, end);
    } else {
      const joined = Buffer.concat([beginning, bytes.subarray(start, end)]);
      this.#beginnings[stream] = undefined;
      this.#messages(stream, joined, 0, joined.length);
    }
  }

  #messages(stream: number, bytes: Buffer, start: number, end: number): void {
    let position = start;
    while (end - position >= grpcPrefixBytes) {
      const next = position + grpcPrefixBytes + bytes.readUInt32BE(position + 1);
      if (next > end) break;
      this.#options.onMessage(stream, bytes, position + grpcPrefixBytes, next, this.#socket.nowMs);
      position = next;
    }
    if (position < end) this.#beginnings[stream] = Buffer.from(bytes.subarray(position, end));
  }

  onHeaders(number: number, grpcStatus: number | undefined, ends: boolean): void {
    if (ends) this.#socket.fail(`stream ${number} ended with status ${grpcStatus}`);
  }

  onReset(number: number, code: number): void {
    this.#socket.fail(`stream ${number} was reset with code ${code}`);
  }

  onWindow(number: number, bytes: number): void {
    if (number === 0) this.#sendWindow += bytes;
    else this.#sendWindows[number >>> 1]! += bytes;
    let sent = 0;
    for (const { stream, message } of this.#waiting) {
      if (!this.#put(stream, message)) break;
      sent++;
    }
    if (sent > 0) this.#waiting.splice(0, sent);
  }

  onReadEnd(): void {
    this.flush();
  }

  onFailure(error: Error): void {
    this.#options.failed(error);
  }
}

/** Client streams have odd numbers. */
function numberOf(stream: number): number {
  return stream * 2 + 1;
}
