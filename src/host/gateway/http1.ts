/**
 * The HTTP/1 rim: node:http requests as exchanges.
 *
 * A connection is handed over by whoever listens; this server never listens itself. While a client does not read its
 * answer, nothing more is read of its body. Bodies have no time limit here, because a stream's may last for ever: who
 * reads them sets one (exchange.ts). An answer that is out before much of the body is in ends the connection: the rest
 * is not read.
 *
 * An Upgrade request that is not for us (h2c, or a websocket where there is none) is served as if it had not asked for
 * one, as RFC 9110 §7.8 has it. node:http has let go of the connection by then, so the connection is begun anew with
 * the same request, less its Upgrade.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Peer } from '../grpc/call.js';
import { unwantedBytesMax } from '../http2/limits.js';
import { PacedSocket } from '../http2/paced-socket.js';
import { peerCommonName } from '../tls/peer-certificate.js';
import { BodyGate } from './body-gate.js';
import { type BodyListener, drainBytes, type Exchange, type HeaderPair } from './exchange.js';

/** What a server does with its requests. */
export interface Http1Handler {
  accept(exchange: Exchange): void;
  /** Whether this Upgrade is wanted; if so, the connection is the handler's from now on. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): boolean;
}

/** How long a request's head may take. */
const headersTimeoutMs = 10_000;
/** How often that is looked at. */
const headersCheckMs = 1_000;

/** How long a client may take to read why its head was refused. */
const lingerTimeoutMs = 1_000;

const lastHeader: HeaderPair = ['Connection', 'close'];

/** What node:http finds wrong with a head, as a status. */
const refusals: ReadonlyMap<string, string> = new Map([
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Payload Too Large'],
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
]);

/** Makes the server; emit 'connection' on it to hand a socket over. */
export function createHttp1(handler: Http1Handler): Server {
  const server = createServer(
    { requestTimeout: 0, headersTimeout: headersTimeoutMs, connectionsCheckingInterval: headersCheckMs },
    (request, response) => {
      const { socket } = request as { socket: Duplex };
      if (socket instanceof PacedSocket) {
        socket.begun(request, announcedBytes(request));
        response.once('close', () => socket.answered());
      }
      handler.accept(new Http1Exchange(request, response));
    },
  );
  server.on('upgrade', (request: IncomingMessage, duplex: Duplex, head: Buffer) => {
    const socket = socketOf(duplex);
    if (duplex instanceof PacedSocket) head = Buffer.concat([head, duplex.release()]);
    if (!handler.upgrade(request, socket, head)) beginAnew(server, request, socket, head);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error.code ?? '', socket as Socket));
  return server;
}

/** Says what was wrong with a head that is no request, if anybody still listens; the connection ends. */
function refuse(code: string, socket: Socket): void {
  if (socket.destroyed || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy(); // an answer may have begun: another head would be a part of it
    return;
  }
  const status = refusals.get(code) ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  const timeout = setTimeout(() => socket.destroy(), lingerTimeoutMs);
  socket.once('close', () => clearTimeout(timeout));
}

/** The request's fields, names in lower case. */
export function headersOf(request: IncomingMessage): HeaderPair[] {
  const { rawHeaders } = request;
  return Array.from({ length: rawHeaders.length / 2 }, (_, at) => [
    (rawHeaders[2 * at] as string).toLowerCase(),
    rawHeaders[2 * at + 1] as string,
  ]);
}

/** What carries a request, whatever is between it and node:http. */
export function socketOf(stream: Duplex): Socket {
  return stream instanceof PacedSocket ? stream.socket : (stream as Socket);
}

/** Who sits at the other end of a socket. */
export function peerOf(socket: Socket): Peer {
  const commonName = peerCommonName(socket);
  return { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0, commonName };
}

function beginAnew(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  for (const [name, value] of headersOf(request)) {
    if (name !== 'upgrade' && name !== 'connection' && name !== 'http2-settings') lines.push(`${name}: ${value}`);
  }
  socket.pause();
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', new PacedSocket(socket));
}

class Http1Exchange implements Exchange {
  readonly takesPieces = true;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #gate = new BodyGate();
  #added: readonly HeaderPair[] = [];
  #headers: readonly HeaderPair[] | undefined = undefined;
  #waiting = false;
  /** Of the body. */
  #readBytes = 0;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
    request.on('close', () => this.#closed());
    response.on('close', () => this.#closed());
    response.on('drain', () => this.#drained());
    request.on('error', ignore); // 'close' follows
    response.on('error', ignore);
    if (!hasBody(request)) this.#gate.end();
  }

  get method(): string {
    return this.#request.method ?? '';
  }

  get target(): string {
    return this.#request.url ?? '/';
  }

  get host(): string {
    return this.#request.headers.host ?? '';
  }

  get headers(): readonly HeaderPair[] {
    this.#headers ??= headersOf(this.#request);
    return this.#headers;
  }

  get peer(): Peer {
    return peerOf(socketOf(this.#request.socket));
  }

  get secure(): boolean {
    return 'encrypted' in socketOf(this.#request.socket);
  }

  get bodyComplete(): boolean {
    return this.#gate.complete;
  }

  get unsentBytes(): number {
    return this.#response.writableLength;
  }

  read(listener: BodyListener): void {
    this.#gate.read(listener);
    if (this.#gate.complete) return;
    this.#request.on('data', (chunk: Buffer) => {
      this.#readBytes += chunk.length;
      this.#gate.data(chunk);
    });
    this.#request.on('end', () => this.#gate.end());
  }

  addHeaders(headers: readonly HeaderPair[]): void {
    this.#added = [...this.#added, ...headers];
  }

  respond(status: number, headers: readonly HeaderPair[], body: string): void {
    const length: HeaderPair = ['Content-Length', String(Buffer.byteLength(body))];
    const isLast = !this.#gate.complete && announcedBytes(this.#request) - this.#readBytes > unwantedBytesMax;
    if (isLast) this.#deafen();
    this.begin(status, [...headers, length, ...(isLast ? [lastHeader] : [])]);
    this.#response.end(body);
    if (!isLast) this.#boundRest();
  }

  begin(status: number, headers: readonly HeaderPair[]): void {
    for (const [name, value] of [...this.#added, ...headers]) this.#response.setHeader(name, value);
    this.#response.writeHead(status);
  }

  write(text: string): boolean {
    this.#response.write(text);
    this.#waiting = this.#response.writableLength > drainBytes;
    if (this.#waiting) this.#request.pause();
    return !this.#waiting;
  }

  end(): void {
    this.#response.end();
    if (this.#waiting) this.#request.resume(); // the drain will not be told any more
    this.#waiting = false;
    this.#boundRest();
  }

  abort(): void {
    this.#gate.close();
    if (this.#response.writableEnded) this.#request.socket.destroySoon();
    else this.#request.socket.destroy();
  }

  release(): void {}

  #drained(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#request.resume();
    this.#gate.drain();
  }

  /** The answer is out: of what is left of the body no more than `unwantedBytesMax` is read. */
  #boundRest(): void {
    if (this.#gate.complete) return;
    let leftBytes = unwantedBytesMax;
    this.#request.on('data', (chunk: Buffer) => {
      leftBytes -= chunk.length;
      if (leftBytes >= 0) return;
      this.#deafen();
      this.#request.socket.destroySoon();
    });
  }

  #deafen(): void {
    const { socket } = this.#request as { socket: Duplex };
    if (socket instanceof PacedSocket) socket.deafen(lingerTimeoutMs);
  }

  /** One half is over; when the other is not, the connection has broken. */
  #closed(): void {
    if (!this.#request.complete || (this.#response.closed && !this.#response.writableFinished)) {
      this.#gate.gone('client');
    }
  }
}

function hasBody(request: IncomingMessage): boolean {
  return request.headers['transfer-encoding'] !== undefined || announcedBytes(request) > 0;
}

/** How much the body is said to have; 0 also when it is not said. */
function announcedBytes({ headers }: IncomingMessage): number {
  return Number(headers['content-length'] ?? 0);
}

function ignore(): void {}
