/**
 * A gRPC endpoint: one listening socket whose HTTP/2 requests become calls of one service.
 */
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { type Http2Limits, http2LimitsDefault } from '../http2/limits.js';
import { Http2Listener } from '../http2/socket.js';
import type { Service } from './call.js';
import { GrpcCounts } from './counts.js';
import { Deadlines } from './deadlines.js';
import { HeldBytes } from './held-bytes.js';
import { acceptCall, type CallContext, type Client, type PlainAcceptor } from './server-call.js';

/** Numbers for connections, and word of those that do not take their answers. */
export interface ConnectionSources {
  /** A number for a new connection; undefined: none is free. */
  take(): number | undefined;
  /** The connection is gone. */
  give(source: number): void;
  /** See Http2Limits.crowdedFromBytes. */
  crowded(source: number, isCrowded: boolean): void;
}

export interface GrpcListenerOptions {
  readonly service: Service;
  /** Serves HTTP/1 on the same port; undefined: such connections are closed. */
  readonly httpServer?: HttpServer;
  /** Serves HTTP/2 requests that are no gRPC calls; undefined: they are refused with 415. */
  readonly acceptPlain?: PlainAcceptor;
  /** Largest request message; etcd's `max-request-bytes` + 512 KiB by default. */
  readonly receiveBytesMax?: number;
  readonly limits?: Partial<Http2Limits>;
  /** Where calls are counted; default: for nobody. */
  readonly counts?: GrpcCounts;
  /** Default: connections have no numbers. */
  readonly sources?: ConnectionSources;
  /** Takes accepted connections first, to encrypt them, and hands them on by `attach`. */
  readonly encrypt?: ((socket: Socket) => void) | undefined;
}

export interface GrpcListener {
  /** Listens; port 0 picks a free one. Rejects with the system's error. */
  listen(host: string, port: number): Promise<AddressInfo>;
  /**
   * Serves a socket that someone else accepted, such as a TLS socket: `protocol` is what ALPN agreed on, `commonName`
   * that of the client's verified certificate.
   */
  attach(socket: Socket, protocol: 'h2' | 'http/1.1' | undefined, commonName: string | undefined): void;
  /** GOAWAY to everyone; running calls may end within `graceMs`, then their connections are cut. */
  close(graceMs: number): Promise<void>;
  /** Open HTTP/2 connections. */
  connections(): number;
  /** Calls whose handlers have not stopped. */
  calls(): number;
}

/** etcd's default: 1.5 MiB for a request and 512 KiB for what gRPC puts around it. */
export const receiveBytesMaxDefault = 1_572_864 + 524_288;

/** How late a deadline may fire. */
const deadlineTickMs = 10;

/** Makes an endpoint; nothing happens before `listen` or `attach`. */
export function createGrpcListener(options: GrpcListenerOptions): GrpcListener {
  const clock = () => performance.now();
  const deadlines = new DeadlineTimer(clock);
  const receiveBytesMax = options.receiveBytesMax ?? receiveBytesMaxDefault;
  const context: CallContext = {
    service: options.service,
    deadlines: deadlines.wheel,
    clock,
    receiveBytesMax,
    acceptPlain: options.acceptPlain,
    counts: options.counts ?? new GrpcCounts(),
  };
  const { sources } = options;
  const commonNames = new WeakMap<Socket, string>();
  const clients = new WeakMap<Socket, Client>();
  const meet = (socket: Socket): Client => {
    const source = sources?.take();
    if (source !== undefined) socket.once('close', () => sources?.give(source));
    const { remoteAddress: address = '', remotePort: port = 0 } = socket;
    const peer = { address, port, source, commonName: commonNames.get(socket) };
    const client = { peer, held: new HeldBytes(receiveBytesMax) };
    clients.set(socket, client);
    return client;
  };
  const listener = new Http2Listener({
    limits: { ...http2LimitsDefault, ...options.limits },
    httpServer: options.httpServer,
    encrypt: options.encrypt,
    accept: (stream, head, socket) => {
      const receiver = acceptCall(context, stream, head, clients.get(socket) ?? meet(socket));
      deadlines.run();
      return receiver;
    },
    crowded: (socket, isCrowded) => {
      const source = clients.get(socket)?.peer.source;
      if (source !== undefined) sources?.crowded(source, isCrowded);
    },
  });
  return {
    listen: (host, port) => listener.listen(host, port),
    attach: (socket, protocol, commonName) => {
      if (commonName !== undefined) commonNames.set(socket, commonName);
      listener.attach(socket, protocol);
    },
    close: graceMs => listener.close(graceMs),
    connections: () => listener.connections,
    calls: () => listener.handlers,
  };
}

/** Moves the wheel while there is anything in it. */
class DeadlineTimer {
  readonly wheel: Deadlines;
  readonly #clock: () => number;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(clock: () => number) {
    this.#clock = clock;
    this.wheel = new Deadlines(deadlineTickMs, clock());
  }

  /** Call it after something may have been added. */
  run(): void {
    if (this.wheel.size > 0) this.#timer ??= setInterval(() => this.#advance(), deadlineTickMs);
  }

  #advance(): void {
    this.wheel.advance(this.#clock());
    if (this.wheel.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
