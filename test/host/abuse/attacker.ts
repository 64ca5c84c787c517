/**
 * A client that keeps to no rule: raw bytes out, and what the server made of them.
 *
 *     const attacker = await Attacker.http2(endpoint);
 *     attacker.write(headersFrame(1, false));
 *     await attacker.end()      'GOAWAY 11 too many resets, closed'
 *
 * It knows frames only to tell how the server answered. Everything it waits for comes from the server.
 */
import { connect, type Socket } from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import { clientPreface, frameHeaderBytes, readUint24, readUint31, readUint32 } from '../../../src/host/http2/frames.js';
import { Decoder } from '../../../src/host/http2/hpack/decoder.js';
import {
  dataFrame,
  type Fields,
  Flag,
  type Frame,
  FrameType,
  frame,
  headersFrame,
  settingsFrame,
} from '../http2/peer.js';

export class Attacker {
  readonly socket: Socket;
  /** Frames that the server sent, DATA without its payload. */
  readonly frames: Frame[] = [];
  /** What came from a server that speaks HTTP/1. */
  text = '';
  readonly #isHttp2: boolean;
  #held: Buffer = Buffer.alloc(0);
  #closed = false;
  /** What the last frame said that tells how something ended. */
  #words = 'nothing';
  readonly #decoder = new Decoder(4_096);
  #heard: () => void = () => undefined;

  private constructor(socket: Socket, isHttp2: boolean) {
    this.socket = socket;
    this.#isHttp2 = isHttp2;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#closed = true;
      this.#heard();
    });
  }

  /** Connects to `host:port` and says nothing. */
  static async connect(endpoint: string, isHttp2 = false): Promise<Attacker> {
    const [host = '', port = ''] = endpoint.split(':');
    const socket = connect({ host, port: Number(port), noDelay: true });
    const attacker = new Attacker(socket, isHttp2);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return attacker;
  }

  /** Connects, and has shaken hands as a proper client of HTTP/2 does. */
  static async http2(endpoint: string, settings: readonly (readonly [number, number])[] = []): Promise<Attacker> {
    const attacker = await Attacker.connect(endpoint, true);
    attacker.write(clientPreface, settingsFrame(settings));
    await attacker.until(() => attacker.frames.some(isSettingsAck));
    attacker.write(frame(FrameType.Settings, Flag.Ack, 0));
    return attacker;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sends bytes in one piece. False: the socket holds some of them. */
  write(...parts: readonly (Uint8Array | string)[]): boolean {
    if (this.#closed) return false;
    return this.socket.write(Buffer.concat(parts.map(part => Buffer.from(part as Uint8Array))));
  }

  /** Makes a gRPC request: headers, and the message if there is one, which ends it. */
  request(streamId: number, path: string, message?: Uint8Array): void {
    const head = headersFrame(streamId, false, grpcFields(path));
    if (message === undefined) this.write(head);
    else this.write(head, dataFrame(streamId, true, prefixed(message)));
  }

  /** Sends again and again until the server has closed, at most so often; waits while the socket is full. */
  async flood(timesMax: number, bytesOf: (turn: number) => Uint8Array): Promise<void> {
    for (let turn = 0; turn < timesMax && !this.#closed; turn++) {
      if (!this.write(bytesOf(turn))) await this.#drained();
      await nextRound(); // a socket that takes everything at once would leave no time to read
    }
  }

  /** Resolves when a condition holds or the connection is gone; looks again whenever the server says something. */
  async until(condition: () => boolean): Promise<void> {
    while (!this.#closed && !condition()) {
      await new Promise<void>(resolve => {
        this.#heard = resolve;
      });
    }
  }

  /** Waits for the server to close the connection, and tells how it ended. */
  async end(): Promise<string> {
    await this.until(() => false);
    return this.story();
  }

  /** Waits for the end of a stream, and tells how it ended. */
  async endOf(streamId: number): Promise<string> {
    await this.until(() => this.frames.some(each => each.streamId === streamId && isEnd(each)));
    return this.story();
  }

  /** The last thing that tells something, and whether the connection is closed. */
  story(): string {
    const http1 = /^HTTP\/1\.1 \d+/.exec(this.text)?.[0] ?? 'nothing';
    const words = this.#isHttp2 ? this.#words : http1;
    return this.#closed ? `${words}, closed` : words;
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #drained(): Promise<void> {
    await new Promise<void>(resolve => {
      const done = (): void => {
        this.socket.off('drain', done);
        this.socket.off('close', done);
        resolve();
      };
      this.socket.on('drain', done);
      this.socket.on('close', done);
    });
  }

  #read(chunk: Buffer): void {
    if (this.#isHttp2) this.#readFrames(chunk);
    else if (this.text.length < 10_000) this.text += chunk.toString('latin1');
    this.#heard();
  }

  #readFrames(chunk: Buffer): void {
    const bytes = Buffer.concat([this.#held, chunk]);
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const length = readUint24(bytes, at);
      const from = at + frameHeaderBytes;
      if (from + length > bytes.length) break;
      const type = bytes[at + 3] as number;
      const payload = type === FrameType.Data ? new Uint8Array(0) : bytes.subarray(from, from + length);
      this.#frame({ type, flags: bytes[at + 4] as number, streamId: readUint31(bytes, at + 5), payload });
      at = from + length;
    }
    this.#held = bytes.subarray(at);
  }

  #frame(received: Frame): void {
    const { type, payload } = received;
    this.frames.push({ ...received, payload: payload.slice() });
    const fields: [string, string][] = [];
    if (type === FrameType.Headers) {
      this.#decoder.decode(payload, 0, payload.length, { field: ({ name, value }) => fields.push([name, value]) });
    }
    // After an early answer comes RST_STREAM with NO_ERROR: it tells nothing.
    const isReset = type === FrameType.RstStream && readUint32(payload, 0) !== 0;
    if (type === FrameType.Headers || type === FrameType.Goaway || isReset) {
      this.#words = wordsOf(received, fields);
    }
  }
}

function isSettingsAck({ type, flags }: Frame): boolean {
  return type === FrameType.Settings && (flags & Flag.Ack) !== 0;
}

function isEnd({ type, flags }: Frame): boolean {
  return type === FrameType.RstStream || (type === FrameType.Headers && (flags & Flag.EndStream) !== 0);
}

function wordsOf({ type, payload }: Frame, fields: Fields): string {
  if (type === FrameType.Goaway)
    return `GOAWAY ${readUint32(payload, 4)} ${Buffer.from(payload.subarray(8)).toString()}`;
  if (type === FrameType.RstStream) return `RST ${readUint32(payload, 0)}`;
  const of = (name: string): string => fields.find(([field]) => field === name)?.[1] ?? '';
  const grpc = of('grpc-status');
  return grpc === '' ? `status ${of(':status')}` : `grpc ${grpc} ${of('grpc-message')}`.trimEnd();
}

/** The fields of a gRPC request, as a client without Huffman coding or a table sends them. */
export function grpcFields(path: string, ...further: Fields): Fields {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...further,
  ];
}

/** A gRPC message behind its prefix; `claimed` bytes instead of as many as there are. */
export function prefixed(message: Uint8Array, claimed = message.length, flag = 0): Buffer {
  const bytes = Buffer.alloc(5 + message.length);
  bytes[0] = flag;
  bytes.writeUInt32BE(claimed, 1);
  bytes.set(message, 5);
  return bytes;
}
