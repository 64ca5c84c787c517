/**
 * The handshakes of one endpoint: TCP connections come in, verified TLS connections go out.
 *
 *     accepted socket --> handshake --> client's certificate --> ready(socket, ALPN's choice, common name)
 *                             `-- timeout, plaintext, no certificate, revoked --> closed, a line in the log
 *
 * Invariant: a socket is in `#handshakes` from the moment it comes until it is ready or closed.
 *
 * Node destroys a socket whose certificate does not verify, and says why when its address is forgotten already: the
 * address comes with the plain socket's 'close', the reason with 'tlsClientError' behind it, before the event loop's
 * next round. Two that close in the same round can be given each other's reason.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { PacedLog } from '../paced-log.js';
import type { TlsContext, TlsContexts } from './contexts.js';
import { clientGone, handshakeProblem } from './handshake-problems.js';
import { namesOf, peerCommonName, refusalOf } from './peer-certificate.js';

export type Protocol = 'h2' | 'http/1.1' | undefined;

/** Takes a connection whose client may come in. `protocol` undefined: the client did not say. */
export type Ready = (socket: Socket, protocol: Protocol, commonName: string | undefined) => void;

/** etcd's tlsHandshakeTimeout. */
const handshakeTimeoutMs = 10_000;
const rejected = 'rejected connection on client endpoint';

export class TlsFront {
  readonly #contexts: TlsContexts;
  readonly #logger: Logger;
  readonly #refusals: PacedLog;
  readonly #server: Server;
  /** By the client's address and port. */
  readonly #handshakes = new Map<string, Socket>();
  /** The addresses of those that closed in this round of the event loop and have no reason yet. */
  readonly #gone: string[] = [];
  #applied: TlsContext;

  constructor(contexts: TlsContexts, logger: Logger, ready: Ready, timeoutMs = handshakeTimeoutMs) {
    this.#contexts = contexts;
    this.#logger = logger;
    this.#refusals = new PacedLog(logger);
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
      this.#failed(error, socket);
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
      this.#gone.push(name);
      setImmediate(() => {
        const at = this.#gone.indexOf(name);
        if (at !== -1) this.#refused(this.#gone.splice(at, 1)[0] as string, clientGone, '');
      });
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
      this.#refused(name, refusal, socket.servername, namesOf(socket));
      socket.destroy();
      return;
    }
    const { alpnProtocol } = socket;
    const protocol = alpnProtocol === 'h2' || alpnProtocol === 'http/1.1' ? alpnProtocol : undefined;
    ready(socket, protocol, peerCommonName(socket));
  }

  #failed(error: Error, socket: TLSSocket): void {
    const name = socket.remotePort === undefined ? this.#gone.shift() : nameOf(socket);
    if (name === undefined) return; // its 'close' is to come
    const isHere = this.#handshakes.delete(name);
    if (isHere || socket.remotePort === undefined) {
      this.#refused(name, handshakeProblem(error, socket.authorizationError), socket.servername);
    }
  }

  /** etcd's words and fields. Who only looks whether the port is open is not worth a warning, as in etcd 3.6. */
  #refused(remoteAddress: string, error: string, serverName: TLSSocket['servername'], names = {}): void {
    const fields = { 'remote-addr': remoteAddress, 'server-name': serverName || '', ...names, error };
    if (error === clientGone) this.#logger.debug(fields, rejected);
    else this.#refusals.warn(fields, rejected);
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
