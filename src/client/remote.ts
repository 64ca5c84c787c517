/**
 * The remote channel: calls over gRPC to one of several endpoints, through @grpc/grpc-js, which is loaded by the first
 * call and not before.
 *
 * All calls go to one endpoint, the first that takes connections, until it fails; then to the next in the list, around
 * and around. Until `connectTimeoutMs` after its beginning a call
 *   - looks for an endpoint, whatever it is: nothing was sent yet;
 *   - is sent again after Unavailable when it only reads. A write is not: it may have been done.
 * Streams are never opened a second time here: only their users know where to go on.
 * With a user's name and password every call carries a token, and a call that was refused for its token alone is made
 * again with another.
 */
import { setMaxListeners } from 'node:events';
import type * as Grpc from '@grpc/grpc-js';
import { EtcdErrorCode, GrpcCode } from '../wire/errors.js';
import { Method, methodByNumber } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import {
  type CallOptions,
  type Channel,
  type ClientStream,
  EtcdError,
  type StreamListener,
  type StreamOptions,
} from './channel.js';
import { Endpoint, parseAddress } from './endpoint.js';
import { ClosedError, tableError } from './errors.js';
import { RemoteStream } from './remote-stream.js';
import { backoffMs, orAborted, pause, Scope } from './scope.js';
import { noToken, Session } from './session.js';

/** What the client's end of TLS needs; PEM text or bytes. Without `ca` the system's certificate authorities count. */
export interface TlsOptions {
  readonly ca?: string | Uint8Array;
  /** The client's certificate and its key, for servers that ask for one. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  /** The name the server's certificate must have; default: the endpoint's host. */
  readonly serverName?: string;
  /** Take any certificate the server shows. For tests: whoever answers is believed to be the server. */
  readonly insecureSkipVerify?: boolean;
}

export interface ConnectOptions {
  /** `host:port`, `http://host:port` or `https://host:port`; the first that takes connections is used. */
  readonly endpoints: string | readonly string[];
  /**
   * TLS for all endpoints but those that say `http://`; `https://` alone asks for it with the system's authorities.
   */
  readonly tls?: TlsOptions;
  /** Whom to log in as, where auth is on; the password is kept for the next login. */
  readonly username?: string;
  readonly password?: string;
  /** How long a call looks for a server; default 5000. */
  readonly connectTimeoutMs?: number;
}

const connectTimeoutDefaultMs = 5_000;
/** No endpoint is waited for less than this before the next is tried. */
const endpointTimeoutLeastMs = 500;
/** How long all endpoints are left alone when none took a connection. */
const roundPauseMs = 50;

const reads: ReadonlySet<number> = new Set([
  Method.KvRange,
  Method.LeaseTimeToLive,
  Method.LeaseLeases,
  Method.MemberList,
  Method.Status,
  Method.Hash,
  Method.HashKv,
  Method.AuthStatus,
  Method.UserGet,
  Method.UserList,
  Method.RoleGet,
  Method.RoleList,
  Method.Leader,
  Method.HealthCheck,
  // One login more changes nothing for anybody.
  Method.Authenticate,
]);

/** How often a call is made again with another token: users may change while it is under way. */
const renewalsMax = 3;

export class RemoteChannel implements Channel {
  readonly #options: ConnectOptions;
  readonly #connectTimeoutMs: number;
  readonly #closing = new AbortController();
  readonly #enders = new Set<(error: EtcdError) => void>();
  #endpoints: readonly Endpoint[] = [];
  /** Undefined: calls go without a token. */
  readonly #session: Session | undefined;
  #loading: Promise<typeof Grpc> | undefined;
  #current = 0;

  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? connectTimeoutDefaultMs;
    const addresses = endpointsOf(options);
    if (addresses.length === 0) throw new TypeError('connect: endpoints is empty');
    for (const address of addresses) parseAddress(address);
    setMaxListeners(0, this.#closing.signal);
    const { username, password = '' } = options;
    if (username !== undefined) this.#session = new Session(() => this.#logIn(username, password));
  }

  unary(method: Method, request: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    // A copy: the caller may use its bytes again before the call is sent.
    return this.#unary(method, Buffer.from(request), options, this.#session);
  }

  isLoginRefusal(error: EtcdError, stream: ClientStream | undefined): boolean {
    return stream instanceof RemoteStream && this.#session?.isRefusal(error, stream.token) === true;
  }

  stream(method: Method, listener: StreamListener, options: StreamOptions = {}): ClientStream {
    const stream = new RemoteStream(listener, error => {
      this.#enders.delete(stream.fail);
      if (error !== undefined) this.isLoginRefusal(error, stream);
      if (error?.code === GrpcCode.Unavailable && stream.endpoint !== undefined) this.#leave(stream.endpoint);
    });
    this.#enders.add(stream.fail);
    this.#openStream(stream, method, options).catch((error: unknown) => stream.fail(asEtcdError(error)));
    return stream;
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    const error = new ClosedError();
    this.#closing.abort(error);
    for (const end of [...this.#enders]) end(error);
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  async #logIn(name: string, password: string): Promise<string> {
    const request = encode('etcdserverpb.AuthenticateRequest', { name, password });
    const response = await this.#unary(Method.Authenticate, Buffer.from(request), undefined, undefined);
    return decode('etcdserverpb.AuthenticateResponse', response).token;
  }

  async #unary(
    method: Method,
    request: Buffer,
    options: CallOptions | undefined,
    session: Session | undefined,
  ): Promise<Uint8Array> {
    if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
    const scope = new Scope(options);
    // Not by the signal's own list of listeners: adding to that takes the longer, the more there are.
    const end = (error: EtcdError): void => scope.abort(error);
    this.#enders.add(end);
    const deadlineMs = options?.timeoutMs === undefined ? undefined : Date.now() + options.timeoutMs;
    const giveUpAtMs = performance.now() + this.#connectTimeoutMs;
    try {
      for (let attempt = 0, renewals = 0; ; attempt++) {
        const token = await tokenOf(session, scope.signal);
        const endpoint = await this.#connected(giveUpAtMs, scope.signal);
        const outcome = await endpoint.unary(pathOf(method), request, token, deadlineMs, scope.signal);
        if (outcome instanceof Uint8Array) return outcome;
        if (session?.isRefusal(outcome, token) === true && renewals++ < renewalsMax) continue;
        if (outcome.code !== GrpcCode.Unavailable) throw uniform(outcome);
        this.#leave(endpoint);
        const again = outcome.neverSent || reads.has(method);
        if (!again || performance.now() >= giveUpAtMs) throw uniform(outcome);
        await pause(backoffMs(attempt), scope.signal);
      }
    } finally {
      this.#enders.delete(end);
      scope.end();
    }
  }

  async #openStream(stream: RemoteStream, method: Method, options: StreamOptions): Promise<void> {
    const grpc = await this.#load();
    if (options.elsewhere === true) this.#current = (this.#current + 1) % this.#endpoints.length;
    const token = await tokenOf(this.#session, this.#closing.signal);
    const endpoint = await this.#connected(performance.now() + this.#connectTimeoutMs, this.#closing.signal);
    const metadata = new grpc.Metadata();
    if (token !== noToken) metadata.set('token', token);
    if (options.requireLeader === true) metadata.set('hasleader', 'true');
    stream.open(endpoint, pathOf(method), token, metadata);
  }

  /** An endpoint that has a connection. Rejects with Unavailable when none could be had in time. */
  async #connected(giveUpAtMs: number, signal: AbortSignal): Promise<Endpoint> {
    if (this.#endpoints.length === 0) await orAborted(this.#load(), signal);
    if (signal.aborted) throw signal.reason;
    const count = this.#endpoints.length;
    for (;;) {
      for (let i = 0; i < count; i++) {
        const position = (this.#current + i) % count;
        const endpoint = this.#endpoints[position] as Endpoint;
        if (endpoint.isConnected) {
          this.#current = position;
          return endpoint;
        }
        if (i > 0 && performance.now() >= giveUpAtMs) break;
        const waitMs = Math.max(this.#connectTimeoutMs / count, endpointTimeoutLeastMs);
        const connected = endpoint.connect(Math.min(waitMs, Math.max(giveUpAtMs - performance.now(), 0)));
        if (!(await orAborted(connected, signal))) continue;
        this.#current = position;
        return endpoint;
      }
      if (performance.now() >= giveUpAtMs) {
        const addresses = this.#endpoints.map(({ address }) => address).join(', ');
        const reason = await orAborted((this.#endpoints[this.#current] as Endpoint).whyNot(), signal);
        throw new EtcdError(GrpcCode.Unavailable, `no connection to ${addresses}: ${reason}`);
      }
      await pause(roundPauseMs, signal);
    }
  }

  /** Whoever has just failed is not asked next. */
  #leave(endpoint: Endpoint): void {
    if (this.#endpoints[this.#current] !== endpoint) return;
    this.#current = (this.#current + 1) % this.#endpoints.length;
  }

  #load(): Promise<typeof Grpc> {
    this.#loading ??= import('@grpc/grpc-js').then(grpc => {
      if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
      const { tls } = this.#options;
      this.#endpoints = endpointsOf(this.#options).map(address => new Endpoint(grpc, address, tls));
      return grpc;
    });
    return this.#loading;
  }
}

function endpointsOf({ endpoints }: ConnectOptions): readonly string[] {
  return typeof endpoints === 'string' ? endpoints.split(',') : endpoints;
}

async function tokenOf(session: Session | undefined, signal: AbortSignal): Promise<string> {
  const token = session?.token() ?? noToken;
  return typeof token === 'string' ? token : await orAborted(token, signal);
}

function pathOf(method: Method): string {
  const info = methodByNumber(method);
  if (info === undefined) throw new TypeError(`no method has the number ${method}`);
  return info.path;
}

/** gRPC for Node words a deadline that passed here in its own way; a deadline has one text, whoever noticed it. */
function uniform({ code, message }: EtcdError): EtcdError {
  const isOwn = code === GrpcCode.DeadlineExceeded && message.startsWith('Deadline exceeded');
  return isOwn ? tableError(EtcdErrorCode.ContextDeadlineExceeded) : new EtcdError(code, message);
}

function asEtcdError(error: unknown): EtcdError {
  return error instanceof EtcdError ? error : new EtcdError(GrpcCode.Internal, String(error));
}
