/**
 * An Http2Listener on a free port that echoes, with what it saw, and connections to it.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { clientPreface } from '../../../src/host/http2/frames.js';
import { type Http2Limits, http2LimitsDefault } from '../../../src/host/http2/limits.js';
import { Http2Listener } from '../../../src/host/http2/socket.js';
import type { ResetCause, Stream, StreamReceiver } from '../../../src/host/http2/stream.js';
import { endTrailers, okHeaders, settingsFrame } from './peer.js';

const nothing = new Uint8Array(0);

/** Sends back what it gets: all of it at the end, or as many zeros as `/zeros/N` asks for. */
class Echo implements StreamReceiver {
  readonly heldBytes = 0;
  readonly missingBytes = 0;
  readonly #stream: Stream;
  readonly #path: string;
  readonly #parts: Uint8Array[] = [];
  readonly #told: (cause: ResetCause) => void;

  constructor(stream: Stream, path: string, told: (cause: ResetCause) => void) {
    this.#stream = stream;
    this.#path = path;
    this.#told = told;
  }

  onData(bytes: Uint8Array, from: number, to: number): void {
    if (this.#path === '/costly') for (const untilMs = performance.now() + 0.2; performance.now() < untilMs; );
    this.#parts.push(bytes.slice(from, to));
  }

  onEnd(): void {
    if (this.#path === '/never') return;
    const zeros = /^\/zeros\/(\d+)$/.exec(this.#path);
    const body = zeros === null ? Buffer.concat(this.#parts) : Buffer.alloc(Number(zeros[1]));
    this.#stream.respond(okHeaders, nothing, body, endTrailers, true);
    this.#stream.release();
  }

  onReset(cause: ResetCause): void {
    this.#told(cause);
    this.#stream.release();
  }

  onWritable(): void {}
}

/** A listener, HTTP/1 behind it, and clients of both; everything ends with the test. */
export class Fixture {
  readonly listener: Http2Listener;
  readonly address: AddressInfo;
  readonly resets: ResetCause[];
  /** Of requests, in the order in which they were accepted, and the sockets that they came on. */
  readonly paths: string[];
  readonly sockets: Socket[];

  private constructor(
    listener: Http2Listener,
    address: AddressInfo,
    heard: { resets: ResetCause[]; paths: string[]; sockets: Socket[] },
  ) {
    this.listener = listener;
    this.address = address;
    this.resets = heard.resets;
    this.paths = heard.paths;
    this.sockets = heard.sockets;
  }

  static async start(t: TestContext, limits: Partial<Http2Limits> = {}, http = true): Promise<Fixture> {
    const resets: ResetCause[] = [];
    const paths: string[] = [];
    const sockets: Socket[] = [];
    const httpServer = createServer({ headersTimeout: 100, connectionsCheckingInterval: 20 }, (request, response) => {
      request.on('error', () => {});
      let length = 0;
      request.on('data', (part: Buffer) => {
        length += part.length;
      });
      request.on('end', () => response.end(`${request.method} ${request.url} ${length}`));
    });
    const listener = new Http2Listener({
      limits: { ...http2LimitsDefault, ...limits },
      accept: (stream, head, socket) => {
        paths.push(head.path);
        sockets.push(socket);
        return new Echo(stream, head.path, cause => resets.push(cause));
      },
      ...(http ? { httpServer } : {}),
    });
    const address = await listener.listen('127.0.0.1', 0);
    t.after(() => listener.close(0));
    return new Fixture(listener, address, { resets, paths, sockets });
  }

  get origin(): string {
    return `http://127.0.0.1:${this.address.port}`;
  }

  session(t: TestContext): ClientHttp2Session {
    const session = connect(this.origin);
    session.on('error', () => {});
    t.after(() => session.destroy());
    return session;
  }

  socket(t: TestContext): Socket {
    const socket = connectTcp(this.address.port, '127.0.0.1');
    socket.on('error', () => {});
    t.after(() => socket.destroy());
    return socket;
  }

  /** A socket whose handshake is done; what comes is dropped. */
  async open(t: TestContext): Promise<Socket> {
    const socket = this.socket(t);
    socket.write(Buffer.concat([clientPreface, settingsFrame([])]));
    await once(socket, 'data');
    return socket.resume();
  }
}
