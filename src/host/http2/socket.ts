/**
 * The rim of the HTTP/2 layer: the only file here that knows sockets and timers, with paced-socket.ts.
 *
 *     net.Server -> first bytes --- client preface --> Session: socket <-> Connection
 *                              `--- anything else ---> the given node:http server, first bytes included
 *
 * A session reads in the 'data' callback and writes once per tick: whatever its connection has put out until the
 * microtasks run leaves in one write. While the socket does not take what was written, nothing is read from it, so a
 * peer that does not read its answers cannot make more of them. Behind a full chunk it lets the others read first:
 * without that the event loop takes up to 32 of them, two megabytes, from one connection. Behind the chunks of an upload
 * it rests (loop-share.ts); calls, by the thousand or large, are what the loop is for.
 *
 * Invariants: a session is in `#sessions` from its preface to its socket's 'close'; every socket that was accepted is
 * in `#sockets` until its 'close'.
 */
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { Connection, Phase } from './connection.js';
import { clientPreface } from './frames.js';
import { type Http2Limits, unwantedBytesMax } from './limits.js';
import { LoopShare } from './loop-share.js';
import { SegmentPool } from './output.js';
import { PacedSocket } from './paced-socket.js';
import type { RequestHead } from './request-head.js';
import type { SharedUnsent } from './send-side.js';
import type { Stream, StreamReceiver } from './stream.js';

export interface Http2ListenerOptions {
  readonly limits: Http2Limits;
  /** Called for every request with the socket that it came on. */
  readonly accept: (stream: Stream, head: RequestHead, socket: Socket) => StreamReceiver;
  /** See SendOptions; what it said last of a connection that has ended is false. */
  readonly crowded?: ((socket: Socket, isCrowded: boolean) => void) | undefined;
  /** Serves connections that do not begin with the HTTP/2 preface; undefined: they are closed. */
  readonly httpServer?: HttpServer | undefined;
  /** Takes accepted connections first, to encrypt them, and hands them on by `attach`. */
  readonly encrypt?: ((socket: Socket) => void) | undefined;
}

const tickMs = 1_000;
/** What the event loop reads at once; a chunk that is as large has more behind it. */
const chunkBytes = 64 * 1024;
/** Chunks from this size on (what a TLS record brings), of frames of this size, that end no request are an upload. */
const bulkChunkBytes = 16 * 1024;
const bulkFrameBytes = 4 * 1024;
/** An upload gets a quarter of the loop. */
const restRatio = 3;
/** What a chunk of it costs at most; when it took longer, somebody else had the processor. */
const bulkWorkMsMax = 0.25;
/** Bytes of segments of either size that are kept for reuse by all connections of the process. */
const keptSegmentBytes = 4 * 1024 * 1024;
const pool = new SegmentPool(keptSegmentBytes);
/** What waits on all connections of the process. */
const shared: SharedUnsent = { bytes: 0 };

/** Accepts connections and tells HTTP/2 from HTTP/1. */
export class Http2Listener {
  readonly #options: Http2ListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<Session>();
  #dirty: Session[] = [];
  #ticking: NodeJS.Timeout | undefined = undefined;
  #closing = false;
  /** Resolves the wait of `close` for its last socket. */
  #lastClosed = ignore;

  constructor(options: Http2ListenerOptions) {
    this.#options = options;
    this.#server = createServer(options.encrypt ?? (socket => this.attach(socket, undefined)));
    this.#server.maxConnections = options.limits.connectionsMax;
  }

  /** Open HTTP/2 connections. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** Calls whose handlers run, on all connections. */
  get handlers(): number {
    let handlers = 0;
    for (const session of this.#sessions) handlers += session.connection.handlers;
    return handlers;
  }

  /** Listens; resolves with the address that was bound (port 0 picks a free one), rejects with the system's error. */
  listen(host: string, port: number): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port, backlog: 4_096 }, () => {
        this.#server.off('error', reject);
        this.#ticking = setInterval(() => this.#tick(), tickMs);
        this.#ticking.unref();
        // That server never listens itself, but only this event starts its own timeouts and its list of connections.
        this.#options.httpServer?.emit('listening');
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /**
   * Serves a connected socket. `protocol` is what ALPN agreed on; undefined: the first bytes tell. The listener owns
   * the socket from here on.
   */
  attach(socket: Socket, protocol: 'h2' | 'http/1.1' | undefined): void {
    if (this.#closing) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#closing && this.#sockets.size === 0) this.#lastClosed();
    });
    socket.on('error', ignore); // 'close' follows, and is where everything is cleaned up
    if (protocol === 'h2') this.#open(socket, undefined);
    else if (protocol === 'http/1.1') this.#handOver(socket, undefined);
    else this.#sniff(socket);
  }

  /**
   * Stops accepting, lets running calls end for up to `graceMs`, then cuts what is left. Resolves when every socket is
   * closed.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    const stopped = new Promise<void>(resolve => {
      this.#server.close(() => resolve());
    });
    const closed = new Promise<void>(resolve => {
      this.#lastClosed = resolve;
      if (this.#sockets.size === 0) resolve();
    });
    this.#options.httpServer?.closeIdleConnections();
    // Without any grace the connections break, as those of a killed process do: clients tell that from a goodbye.
    if (graceMs === 0) for (const socket of this.#sockets) socket.destroy();
    for (const session of this.#sessions) session.connection.shutdown();
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await Promise.all([stopped, closed]);
    clearTimeout(cut);
    clearInterval(this.#ticking);
  }

  /** A session has something to write: all of them are served when the current callback is over. */
  wake(session: Session): void {
    this.#dirty.push(session);
    if (this.#dirty.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const session of dirty) session.flush();
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const session of this.#sessions) session.tick(nowMs);
  }

  /** Waits for as many bytes as it takes to tell the client preface from anything else. */
  #sniff(socket: Socket): void {
    let seen: Buffer = Buffer.alloc(0);
    const timeout = setTimeout(() => socket.destroy(), this.#options.limits.prefaceTimeoutMs);
    timeout.unref();
    const onClose = () => clearTimeout(timeout);
    const onData = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const length = Math.min(seen.length, clientPreface.length);
      const same = seen.subarray(0, length).equals(clientPreface.subarray(0, length));
      if (same && length < clientPreface.length) return;
      clearTimeout(timeout);
      socket.off('data', onData);
      socket.off('close', onClose);
      if (same) this.#open(socket, seen);
      else this.#handOver(socket, seen);
    };
    socket.on('data', onData);
    socket.once('close', onClose);
  }

  #open(socket: Socket, first: Buffer | undefined): void {
    const session: Session = new Session(socket, this.#options, () => this.wake(session));
    this.#sessions.add(session);
    socket.once('close', () => {
      this.#sessions.delete(session);
      session.connection.abort();
    });
    session.start(first);
  }

  #handOver(socket: Socket, first: Buffer | undefined): void {
    const { httpServer } = this.#options;
    if (httpServer === undefined) {
      socket.destroy();
      return;
    }
    socket.off('error', ignore);
    socket.pause();
    if (first !== undefined) socket.unshift(first);
    httpServer.emit('connection', new PacedSocket(socket));
  }
}

function ignore(): void {}

/** One HTTP/2 connection on its socket. */
class Session {
  readonly #socket: Socket;
  readonly #lingerTimeoutMs: number;
  /** Segments that the socket holds, in the order in which it releases them. */
  readonly #writing: Uint8Array[] = [];
  readonly #written = () => {
    pool.give(this.#writing.shift()!);
  };
  readonly #share = new LoopShare(restRatio);
  #ended = false;
  /** What came behind the end. */
  #unwantedBytes = 0;
  /** The others read first. */
  #yields = false;
  readonly #yielded = () => {
    this.#yields = false;
    // With too much unsent, 'drain' is to come.
    if (this.connection.wantsInput || this.connection.phase === Phase.Finished) this.#resume();
  };
  readonly connection: Connection;

  constructor(socket: Socket, options: Http2ListenerOptions, wake: () => void) {
    this.#socket = socket;
    this.#lingerTimeoutMs = options.limits.lingerTimeoutMs;
    this.connection = new Connection({
      limits: options.limits,
      clock: () => performance.now(),
      pool,
      shared,
      crowded: isCrowded => options.crowded?.(socket, isCrowded),
      accept: (stream, head) => options.accept(stream, head, socket),
      wake,
    });
  }

  /** Begins with the bytes that were read while looking for the preface. */
  start(first: Buffer | undefined): void {
    this.#socket.on('data', chunk => this.#read(chunk));
    this.#socket.on('drain', () => this.#drained());
    this.#socket.on('end', () => this.connection.abort());
    if (first !== undefined) this.#read(first);
  }

  tick(nowMs: number): void {
    this.connection.tick(nowMs);
  }

  /** Writes all output of the tick in one go. */
  flush() {
    const segments = this.connection.takeOutput();
    const several = segments.length > 1;
    if (several) this.#socket.cork();
    for (const { bytes, length } of segments) {
      this.#writing.push(bytes);
      this.#socket.write(Buffer.from(bytes.buffer, bytes.byteOffset, length), this.#written);
    }
    if (several) this.#socket.uncork();
    if (this.connection.phase === Phase.Finished) return this.#end();
    const backlogBytes = this.#socket.writableLength;
    if (backlogBytes > 0) {
      this.connection.setBacklog(backlogBytes);
      if (!this.connection.wantsInput) this.#socket.pause();
    }
  }

  #read(chunk: Buffer): void {
    const { connection } = this;
    if (connection.phase === Phase.Finished) return this.#drop(chunk.length);
    if (chunk.length < bulkChunkBytes || this.#yields) return connection.receive(chunk);
    const beganMs = performance.now();
    const { frames, requests } = connection;
    connection.receive(chunk);
    const isBulk = connection.requests === requests && (connection.frames - frames) * bulkFrameBytes <= chunk.length;
    if (!isBulk && chunk.length < chunkBytes) return;
    this.#yields = true;
    this.#socket.pause();
    const endedMs = performance.now();
    const restMs = isBulk ? this.#share.rest(Math.max(beganMs, endedMs - bulkWorkMsMax), endedMs) : 0;
    if (restMs > 0) setTimeout(this.#yielded, restMs);
    else setImmediate(this.#yielded);
  }

  #drained(): void {
    this.connection.setBacklog(0);
    this.#resume();
  }

  #resume(): void {
    if (this.#yields || this.#unwantedBytes > unwantedBytesMax) return;
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** So much of what comes behind the end is read, so that a peer which is busy sending can read why; then no more is. */
  #drop(bytes: number): void {
    this.#unwantedBytes += bytes;
    if (this.#unwantedBytes > unwantedBytesMax) this.#socket.pause();
  }

  /** Says goodbye after the last write. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#socket.destroyed) return; // nobody is left to read why
    this.#socket.resume();
    this.#socket.end();
    const timeout = setTimeout(() => this.#socket.destroy(), this.#lingerTimeoutMs);
    this.#socket.once('close', () => clearTimeout(timeout));
  }
}
