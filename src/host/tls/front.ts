/**
 * The handshakes of one endpoint: TCP connections come in, verified TLS connections go out.
 *
 *     accepted socket --> handshake --> client's certificate --> ready(socket, ALPN's choice, common name)
 *                             `-- timeout, plaintext, no certificate, revoked --> closed, a line in the log
 *
 * Invariant: a socket is in `#handshakes` from the moment it comes until it is ready or closed.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import type { TlsContext, TlsContexts } from './contexts.js';
import { peerCommonName, refusalOf } from './peer-certificate.js';

export type Protocol = 'h2' | 'http/1.1' | undefined;

/** Takes a connection whose client may come in. `protocol` undefined: the client did not say. */
export type Ready = (socket: Socket, protocol: Protocol, commonName: string | undefined) => void;

/** etcd's tlsHandshakeTimeout. */
const handshakeTimeoutMs = 10_000;
/** Refusals are logged once in this time, with the number of those that were not. */
const logPauseMs = 1_000;

export class TlsFront {
  readonly #contexts: TlsContexts;
  readonly #logger: Logger;
  readonly #server: Server;
  /** By the client's address and port. */
  readonly #handshakes = new Map<string, Socket>();
  #applied: TlsContext;
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  constructor(contexts: TlsContexts, logger: Logger, ready: Ready, timeoutMs = handshakeTimeoutMs) {
    this.#contexts = contexts;
    this.#logger = logger;
    this.#applied = contexts.current;
    const asks = contexts.files.clientCertAuth;
    // It never listens: its sockets are those that come through `accept`.
    this.#server = createServer({
      ...this.#applied.options,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: timeoutMs,
      requestCert: asks,
      rejectUnauthorized: asks,
    });
    takePartialChains(this.#server);
    this.#server.on('secureConnection', socket => this.#secured(socket, ready));
    this.#server.on('tlsClientError', (error, socket) => {
      this.#handshakes.delete(nameOf(socket));
      this.#log(nameOf(socket), (error as { reason?: string }).reason ?? error.message);
      socket.destroy();
    });
  }

  /** Begins the handshake on a connection that was just accepted. */
  accept(socket: Socket): void {
    if (socket.remotePort === undefined) {
      socket.destroy(); // gone already
      return;
    }
    const context = this.#contexts.current;
    if (context !== this.#applied) {
      this.#applied = context;
      this.#server.setSecureContext(context.options);
      takePartialChains(this.#server);
    }
    const name = nameOf(socket);
    this.#handshakes.set(name, socket);
    socket.on('error', ignore);
    socket.once('close', () => {
      if (this.#handshakes.get(name) !== socket) return;
      this.#handshakes.delete(name);
      this.#log(name, "the client's certificate does not verify against --trusted-ca-file");
    });
    this.#server.emit('connection', socket);
  }

  /** Handshakes that are not over yet. */
  get handshakes(): number {
    return this.#handshakes.size;
  }

  /** Ends the handshakes that are not over yet. */
  close(): void {
    const sockets = [...this.#handshakes.values()];
    this.#handshakes.clear();
    for (const socket of sockets) socket.destroy();
  }

  #secured(socket: TLSSocket, ready: Ready): void {
    const name = nameOf(socket);
    this.#handshakes.delete(name);
    socket.on('error', ignore); // 'close' follows
    const refusal = refusalOf(socket, this.#applied.rules, Date.now());
    if (refusal !== undefined) {
      this.#log(name, refusal);
      socket.destroy();
      return;
    }
    const { alpnProtocol } = socket;
    const protocol = alpnProtocol === 'h2' || alpnProtocol === 'http/1.1' ? alpnProtocol : undefined;
    ready(socket, protocol, peerCommonName(socket));
  }

  /** etcd's words. Whoever knocks a thousand times a second does not fill the log. */
  #log(remoteAddress: string, error: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#loggedAtMs < logPauseMs) {
      this.#unlogged += 1;
      return;
    }
    const fields = { 'remote-addr': remoteAddress, error, ...(this.#unlogged > 0 ? { unlogged: this.#unlogged } : {}) };
    this.#logger.warn(fields, 'rejected connection on client endpoint');
    this.#loggedAtMs = nowMs;
    this.#unlogged = 0;
  }
}

/**
 * Whatever is in --trusted-ca-file is trusted, an intermediate authority too: to Go every certificate in a pool is a
 * root. Node has the option for clients, but its server (20, 22) does not hand it on; where that changes its internals
 * this does nothing, and chains must lead to a root.
 */
function takePartialChains(server: Server): void {
  const { _sharedCreds: shared } = server as unknown as { _sharedCreds?: SecureContext };
  const context = shared?.context as { setAllowPartialTrustChain?: () => void } | undefined;
  context?.setAllowPartialTrustChain?.();
}

function nameOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

function ignore(): void {}
