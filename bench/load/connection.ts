/**
 * One HTTP/2 connection (RFC 9113) that keeps a fixed number of gRPC calls outstanding, as cheaply as possible.
 *
 *   #fill     as many requests as there is room for are copied from a prepared one into one buffer: one write
 *   #onBytes  frames are walked; the only ones looked into are header blocks, for grpc-status
 *
 * It is a load generator's client: it takes everything the protocol allows a server to send, except header blocks that
 * need CONTINUATION, and checks nothing that does not bear on whether a call succeeded.
 *
 * The calls' start times sit in a ring by stream number. Two calls would share a place if one waited while `ringSize`
 * later ones passed it; the place is cleared when its call ends, so that would be seen and ends the run.
 */
import { connect, type Socket } from 'node:net';
import { firstRequest, laterRequest, type PreparedRequest, preface } from './frames.js';
import { GrpcStatusReader } from './grpc-status.js';
import { type RequestTemplate, writeDigits } from './requests.js';

const FrameType = {
  Data: 0,
  Headers: 1,
  RstStream: 3,
  Settings: 4,
  Ping: 6,
  GoAway: 7,
  WindowUpdate: 8,
  Continuation: 9,
} as const;
const Flag = { EndStream: 0x1, Ack: 0x1, Padded: 0x8, Priority: 0x20 } as const;
const Setting = { HeaderTableSize: 1, MaxConcurrentStreams: 3, InitialWindowSize: 4 } as const;

const frameHeaderBytes = 9;
const windowDefault = 65_535;
/** The receive window, opened to its maximum at the start, is topped up whenever this much of it has been used. */
const windowStep = 2 ** 29;
const ringSize = 2 ** 20;
const bufferBytes = 2 ** 18;

export interface LoadConnectionOptions {
  /** `host:port`. */
  readonly endpoint: string;
  readonly template: RequestTemplate;
  /** Chooses the key of the next call. */
  readonly nextKey: () => number;
  /** Called for every finished call. */
  readonly finished: (grpcStatus: number, latencyMs: number) => void;
  /** Called once when the connection breaks. */
  readonly failed: (error: Error) => void;
}

export class LoadConnection {
  readonly #options: LoadConnectionOptions;
  readonly #socket: Socket;
  readonly #statuses = new GrpcStatusReader();
  readonly #startedMs = new Float64Array(ringSize).fill(Number.NaN);
  readonly #request: PreparedRequest;
  readonly #freeBuffers: Buffer[] = [];
  /** Bytes of an incomplete frame, at the start of a buffer that has room for one more read behind them. */
  readonly #carry = Buffer.alloc(2 * bufferBytes);
  #carried = 0;
  #nextStream = 3;
  #outstanding = 0;
  #target = 0;
  #sendWindow = windowDefault;
  #received = 0;
  #onSettings: (() => void) | undefined;
  #onIdle: (() => void) | undefined;
  #closed = false;

  private constructor(options: LoadConnectionOptions) {
    this.#options = options;
    this.#request = laterRequest(options.template);
    this.#socket = this.#openSocket(options.endpoint);
  }

  /** Connects, exchanges settings and makes one call, which puts the header fields into the server's table. */
  static async open(options: LoadConnectionOptions): Promise<LoadConnection> {
    const connection = new LoadConnection(options);
    const settings = new Promise<void>(resolve => {
      connection.#onSettings = resolve;
    });
    connection.#socket.write(preface());
    await settings;
    const first = firstRequest({ path: options.template.path, authority: options.endpoint }, options.template);
    writeDigits(first.bytes, first.digitsAt, options.nextKey());
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

  /** Starts no more calls and resolves when the last one has ended. */
  async drain(): Promise<void> {
    this.#target = 0;
    if (this.#outstanding === 0) return;
    await new Promise<void>(resolve => {
      this.#onIdle = resolve;
    });
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #openSocket(endpoint: string): Socket {
    const [host = '', port = ''] = endpoint.split(':');
    const socket = connect({
      host,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.alloc(bufferBytes),
        callback: (count, bytes) => {
          this.#onBytes(bytes as Buffer, count);
          return true;
        },
      },
    });
    socket.on('error', error => this.#fail(error.message));
    socket.on('close', () => this.#fail('connection closed by the server'));
    return socket;
  }

  #fail(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.#options.failed(new Error(`${this.#options.endpoint}: ${reason}`));
  }

  /** Starts calls until the target or the connection's send window is reached; all of them start at `nowMs`. */
  #fill(nowMs: number): void {
    const { bytes, digitsAt, secondIdAt, dataBytes } = this.#request;
    while (this.#outstanding < this.#target && this.#sendWindow >= dataBytes) {
      const buffer = this.#freeBuffers.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
      let end = 0;
      while (this.#outstanding < this.#target && this.#sendWindow >= dataBytes && end + bytes.length <= bufferBytes) {
        buffer.set(bytes, end);
        writeUint31(buffer, end + 5, this.#nextStream);
        writeUint31(buffer, end + secondIdAt, this.#nextStream);
        writeDigits(buffer, end + digitsAt, this.#options.nextKey());
        end += bytes.length;
        this.#startedMs[placeOf(this.#nextStream)] = nowMs;
        this.#nextStream += 2;
        this.#outstanding++;
        this.#sendWindow -= dataBytes;
      }
      this.#socket.write(buffer.subarray(0, end), () => this.#freeBuffers.push(buffer));
    }
  }

  #onBytes(read: Buffer, count: number): void {
    const nowMs = performance.now();
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
      this.#onFrame(bytes, position, next, nowMs);
      position = next;
    }
    bytes.copy(this.#carry, 0, position, end);
    this.#carried = end - position;
    if (this.#received > windowStep) this.#openWindow();
    this.#fill(nowMs);
    if (this.#outstanding === 0 && this.#target === 0) {
      this.#onIdle?.();
      this.#onIdle = undefined;
    }
  }

  #onFrame(bytes: Buffer, start: number, end: number, nowMs: number): void {
    const type = bytes[start + 3]!;
    const flags = bytes[start + 4]!;
    const payload = start + frameHeaderBytes;
    if (type === FrameType.Data) this.#received += end - payload;
    else if (type === FrameType.Headers) this.#onHeaders(bytes, start, end, flags, nowMs);
    else if (type === FrameType.WindowUpdate) {
      if (bytes.readUInt32BE(start + 5) === 0) this.#sendWindow += bytes.readUInt32BE(payload);
    } else if (type === FrameType.Settings) {
      if ((flags & Flag.Ack) === 0) this.#onServerSettings(bytes, payload, end);
    } else if (type === FrameType.Ping) {
      if ((flags & Flag.Ack) === 0) this.#answerPing(bytes.subarray(payload, end));
    } else if (type === FrameType.RstStream) {
      // After its answer a server may reset a stream whose end it had not seen yet (§8.1): that call is over anyway.
      const stream = bytes.readUInt32BE(start + 5);
      const ended = Number.isNaN(this.#startedMs[placeOf(stream)]!);
      if (!ended) this.#fail(`stream ${stream} was reset with code ${bytes.readUInt32BE(payload)}`);
    } else if (type === FrameType.GoAway || type === FrameType.Continuation) {
      this.#fail(`frame of type ${type}: ${bytes.subarray(start, end).toString('hex')}`);
    }
  }

  #onHeaders(bytes: Buffer, start: number, end: number, flags: number, nowMs: number): void {
    let from = start + frameHeaderBytes;
    let to = end;
    if ((flags & Flag.Padded) !== 0) to -= bytes[from++]!;
    if ((flags & Flag.Priority) !== 0) from += 5;
    const status = this.#statuses.read(bytes, from, to);
    if ((flags & Flag.EndStream) === 0) return;
    const place = placeOf(bytes.readUInt32BE(start + 5));
    const startedMs = this.#startedMs[place]!;
    if (status === undefined || Number.isNaN(startedMs)) {
      this.#fail('a call ended without status, or twice');
      return;
    }
    this.#startedMs[place] = Number.NaN;
    this.#outstanding--;
    this.#options.finished(status, nowMs - startedMs);
  }

  #onServerSettings(bytes: Buffer, start: number, end: number): void {
    for (let position = start; position + 6 <= end; position += 6) {
      const id = bytes.readUInt16BE(position);
      const value = bytes.readUInt32BE(position + 2);
      if (id === Setting.HeaderTableSize && value < 4096) this.#fail('the server wants a small header table');
      if (id === Setting.MaxConcurrentStreams && value < 2000) this.#fail(`the server allows ${value} streams only`);
      if (id === Setting.InitialWindowSize && value < windowDefault) this.#fail('the server has a small stream window');
    }
    this.#socket.write(Buffer.from([0, 0, 0, FrameType.Settings, Flag.Ack, 0, 0, 0, 0]));
    this.#onSettings?.();
    this.#onSettings = undefined;
  }

  #answerPing(payload: Uint8Array): void {
    this.#socket.write(Buffer.concat([Buffer.from([0, 0, 8, FrameType.Ping, Flag.Ack, 0, 0, 0, 0]), payload]));
  }

  #openWindow(): void {
    const update = Buffer.from([0, 0, 4, FrameType.WindowUpdate, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    update.writeUInt32BE(this.#received, frameHeaderBytes);
    this.#received = 0;
    this.#socket.write(update);
  }
}

/** Client streams have odd numbers. */
function placeOf(stream: number): number {
  return (stream >>> 1) & (ringSize - 1);
}

function writeUint31(target: Uint8Array, position: number, value: number): void {
  target[position] = value >>> 24;
  target[position + 1] = value >>> 16;
  target[position + 2] = value >>> 8;
  target[position + 3] = value;
}
