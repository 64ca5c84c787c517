/**
 * The lowest layer of the load generators: one socket whose bytes are walked as HTTP/2 frames (RFC 9113).
 *
 * It answers what a connection has to answer (SETTINGS, PING, the connection's receive window) and hands the rest to a
 * handler as positions in the buffer that was read, valid during the call only. It takes everything the protocol allows
 * a server to send, except header blocks that need CONTINUATION; of header blocks it reads grpc-status and nothing else.
 *
 * `nowMs` is the time at which the bytes at hand were read: the clock is looked at once for all of them.
 */
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { FrameType, frame, preface, windowDefault } from './frames.js';
import { GrpcStatusReader } from './grpc-status.js';
import { openPromise } from './waiting.js';

const Flag = { EndStream: 0x1, Ack: 0x1, Padded: 0x8, Priority: 0x20 } as const;
const Setting = { HeaderTableSize: 1, MaxConcurrentStreams: 3, InitialWindowSize: 4 } as const;

const frameHeaderBytes = 9;
/** The receive window, opened to its maximum at the start, is topped up whenever this much of it has been used. */
const windowStep = 2 ** 29;
export const readBufferBytes = 2 ** 18;

/** What the connection does not deal with itself. */
export interface FrameHandler {
  /** The payload bytes[start, end) of a DATA frame. */
  onData(stream: number, bytes: Buffer, start: number, end: number): void;
  /** A header block: grpc-status when it has one, and whether it ends the stream. */
  onHeaders(stream: number, grpcStatus: number | undefined, ends: boolean): void;
  onReset(stream: number, code: number): void;
  /** The server lets this stream (0: the connection) send so many bytes more. */
  onWindow(stream: number, bytes: number): void;
  /** Everything that was read has been handed out. */
  onReadEnd(): void;
  /** The connection is broken; called once. */
  onFailure(error: Error): void;
}

export class FrameSocket {
  readonly #endpoint: string;
  readonly #handler: FrameHandler;
  readonly #socket: Socket;
  readonly #statuses = new GrpcStatusReader();
  /** Bytes of an incomplete frame, at the start of a buffer that has room for one more read behind them. */
  readonly #carry = Buffer.alloc(2 * readBufferBytes);
  #carried = 0;
  #received = 0;
  readonly #settled = openPromise();
  #closed = false;
  #nowMs = 0;
  #streamSendWindow = windowDefault;

  /** Connects to `host:port`, or with TLS to `https://host:port`; a server may send `streamWindowBytes` ahead on a stream. */
  constructor(endpoint: string, streamWindowBytes: number, handler: FrameHandler) {
    this.#endpoint = endpoint;
    this.#handler = handler;
    this.#socket = this.#open();
    this.#socket.write(preface(streamWindowBytes));
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** What may be sent on a new stream before the server allows more: known once `ready()` has resolved. */
  get streamSendWindow(): number {
    return this.#streamSendWindow;
  }

  /** Resolves when the server's settings have come; rejects when the connection breaks before. */
  ready(): Promise<void> {
    return this.#settled.promise;
  }

  write(bytes: Uint8Array, done?: () => void): void {
    this.#socket.write(bytes, done);
  }

  /** Holds back what is written until `uncork`, which makes it one packet. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  fail(reason: string): void {
    if (this.#closed) return;
    this.close();
    const error = new Error(`${this.#endpoint}: ${reason}`);
    this.#settled.reject(error);
    this.#handler.onFailure(error);
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #open(): Socket {
    const [host = '', port = ''] = authorityOf(this.#endpoint).split(':');
    const options: TcpNetConnectOpts = {
      host,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.alloc(readBufferBytes),
        callback: (count, bytes) => {
          this.#onBytes(bytes as Buffer, count);
          return true;
        },
      },
    };
    const isSecure = this.#endpoint.startsWith('https:');
    // The load is what is measured, not whether the server is who it says.
    const secure = { rejectUnauthorized: false, ALPNProtocols: ['h2'] };
    const socket = isSecure ? connectTls({ ...options, ...secure }) : connect(options);
    socket.on('error', error => this.fail(error.message));
    socket.on('close', () => this.fail('connection closed by the server'));
    return socket;
  }

  #onBytes(read: Buffer, count: number): void {
    this.#nowMs = performance.now();
    let bytes = read;
    let end = count;
    if (this.#carried > 0) {
      read.copy(this.#carry, this.#carried, 0, count);
      bytes = this.#carry;
      end = this.#carried + count;
    }
    let position = 0;
    while (end - position >= frameHeaderBytes) {
      const length = (bytes[position]! << 16) | (bytes[position + 1]! << 8) | bytes[position + 2]!;
      const next = position + frameHeaderBytes + length;
      if (next > end) break;
      this.#onFrame(bytes, position, next);
      position = next;
    }
    bytes.copy(this.#carry, 0, position, end);
    this.#carried = end - position;
    if (this.#received > windowStep) this.#openWindow();
    this.#handler.onReadEnd();
  }

  #onFrame(bytes: Buffer, start: number, end: number): void {
    const type = bytes[start + 3]!;
    const flags = bytes[start + 4]!;
    const stream = bytes.readUInt32BE(start + 5);
    const payload = start + frameHeaderBytes;
    if (type === FrameType.Data) {
      this.#received += end - payload;
      if ((flags & Flag.Padded) === 0) this.#handler.onData(stream, bytes, payload, end);
      else this.#handler.onData(stream, bytes, payload + 1, end - bytes[payload]!);
    } else if (type === FrameType.Headers) {
      let [from, to] = [payload, end];
      if ((flags & Flag.Padded) !== 0) to -= bytes[from++]!;
      if ((flags & Flag.Priority) !== 0) from += 5;
      this.#handler.onHeaders(stream, this.#statuses.read(bytes, from, to), (flags & Flag.EndStream) !== 0);
    } else if (type === FrameType.WindowUpdate) {
      this.#handler.onWindow(stream, bytes.readUInt32BE(payload));
    } else if (type === FrameType.Settings) {
      if ((flags & Flag.Ack) === 0) this.#onServerSettings(bytes, payload, end);
    } else if (type === FrameType.Ping) {
      if ((flags & Flag.Ack) === 0) this.write(frame(FrameType.Ping, Flag.Ack, 0, bytes.subarray(payload, end)));
    } else if (type === FrameType.RstStream) {
      this.#handler.onReset(stream, bytes.readUInt32BE(payload));
    } else if (type === FrameType.GoAway || type === FrameType.Continuation) {
      this.fail(`frame of type ${type}: ${bytes.subarray(start, end).toString('hex')}`);
    }
  }

  #onServerSettings(bytes: Buffer, start: number, end: number): void {
    for (let position = start; position + 6 <= end; position += 6) {
      const id = bytes.readUInt16BE(position);
      const value = bytes.readUInt32BE(position + 2);
      if (id === Setting.HeaderTableSize && value < 4096) this.fail('the server wants a small header table');
      if (id === Setting.MaxConcurrentStreams && value < 2000) this.fail(`the server allows ${value} streams only`);
      if (id === Setting.InitialWindowSize) this.#streamSendWindow = value;
    }
    if (this.#streamSendWindow < windowDefault) this.fail('the server has a small stream window');
    this.write(frame(FrameType.Settings, Flag.Ack, 0, Buffer.alloc(0)));
    this.#settled.resolve();
  }

  #openWindow(): void {
    this.write(windowUpdate(0, this.#received));
    this.#received = 0;
  }
}

/** `host:port` of an endpoint. */
export function authorityOf(endpoint: string): string {
  return endpoint.replace('https://', '');
}

/** Allows the server so many bytes more on a stream (0: the connection). */
export function windowUpdate(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes, 0);
  return frame(FrameType.WindowUpdate, 0, stream, payload);
}
