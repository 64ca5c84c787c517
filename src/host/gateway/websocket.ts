/**
 * The websocket rim: a connection below /v3/ as an exchange. A frame in is a piece of the request's body, one line of
 * the answer is a frame out; the call is a POST whatever the handshake was. When the answer is over the socket closes.
 *
 * Browsers cannot set headers here: the token may stand behind `Bearer` in the list of subprotocols.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Peer } from '../grpc/call.js';
import { BodyGate } from './body-gate.js';
import { type BodyListener, drainBytes, type Exchange, type HeaderPair } from './exchange.js';
import { jsonExpansionMax } from './gateway-call.js';
import { headersOf, peerOf, socketOf } from './http1.js';

/** Who has so many pings unanswered and sends another is cut off: more of them are no question whether we live. */
const maxPendingAutoPongs = 8;

const servers = new Map<number, WebSocketServer>();

/** Shakes hands and hands the exchange on; a bad handshake is answered with 400. */
export function acceptWebsocket(
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  receiveBytesMax: number,
  accept: (exchange: Exchange) => void,
): void {
  const maxPayload = receiveBytesMax * jsonExpansionMax;
  let server = servers.get(maxPayload);
  if (server === undefined) {
    const options = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload,
      maxPendingAutoPongs,
    };
    server = new WebSocketServer(options);
    servers.set(maxPayload, server);
  }
  server.handleUpgrade(request, socket, head, connection => {
    accept(new WebsocketExchange(connection, request, peerOf(socket)));
    socket.resume(); // it came paused (paced-socket.ts)
  });
}

class WebsocketExchange implements Exchange {
  readonly method = 'POST';
  readonly target: string;
  readonly host: string;
  /** Each write is a message of its own. */
  readonly takesPieces = false;
  readonly headers: readonly HeaderPair[];
  readonly peer: Peer;
  readonly secure: boolean;
  readonly #connection: WebSocket;
  readonly #socket: Socket;
  readonly #gate = new BodyGate();
  #waiting = false;

  constructor(connection: WebSocket, request: IncomingMessage, peer: Peer) {
    this.#connection = connection;
    this.#socket = socketOf(request.socket);
    this.target = request.url ?? '/';
    this.host = request.headers.host ?? '';
    this.headers = [...tokenOf(request), ...headersOf(request)];
    this.peer = peer;
    this.secure = 'encrypted' in this.#socket;
    connection.on('message', data => this.#gate.data(data as Buffer));
    connection.on('close', () => this.#gate.gone('client'));
    connection.on('error', ignore); // 'close' follows
  }

  get bodyComplete(): boolean {
    return this.#gate.complete;
  }

  get unsentBytes(): number {
    return this.#connection.bufferedAmount;
  }

  read(listener: BodyListener): void {
    this.#gate.read(listener);
  }

  addHeaders(): void {}

  respond(_status: number, _headers: readonly HeaderPair[], body: string): void {
    this.write(body);
    this.end();
  }

  begin(): void {}

  write(text: string): boolean {
    // A write that the kernel refuses leaves nothing queued, and the socket is destroyed a tick later only: who goes by
    // what is queued would go on until the heap is full. 'close' follows.
    if (!this.#socket.writable) return false;
    this.#connection.send(text.trimEnd(), () => this.#sent());
    this.#waiting ||= this.#connection.bufferedAmount > drainBytes;
    if (this.#waiting) this.#connection.pause();
    return !this.#waiting;
  }

  end(): void {
    this.#gate.end();
    if (this.#connection.isPaused) this.#connection.resume();
    this.#connection.close(1_000);
  }

  abort(): void {
    this.#gate.close();
    this.#connection.terminate();
  }

  release(): void {}

  #sent(): void {
    if (!this.#waiting || !this.#socket.writable || this.#connection.bufferedAmount > drainBytes / 2) return;
    this.#waiting = false;
    this.#connection.resume();
    this.#gate.drain();
  }
}

/** `Sec-WebSocket-Protocol: Bearer, <token>` stands for `Authorization: Bearer <token>`. */
function tokenOf(request: IncomingMessage): HeaderPair[] {
  const match = /^Bearer\s*,\s*(\S+)$/.exec(request.headers['sec-websocket-protocol'] ?? '');
  return match === null ? [] : [['authorization', `Bearer ${match[1]}`]];
}

function ignore(): void {}
