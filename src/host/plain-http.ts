/**
 * What a client endpoint serves besides gRPC, over HTTP/1 and HTTP/2 alike: /version, /health, /metrics and etcd's JSON
 * gateway.
 *
 *     connection without the HTTP/2 preface --> http1 --,
 *     HTTP/2 request that is no gRPC call ----> http2 --+--> access rules --> /version, /health, /metrics, /v3/…, 404
 *     websocket below /v3/ -------------------> websocket
 *
 * The gateway and the websockets are loaded when somebody first asks for them: most clusters never do.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { clusterVersion, etcdVersion } from '../base/version.js';
import { alarmBit, Cell, type StatusCells } from '../transport/control.js';
import { type EtcdErrorCode, etcdError } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { encode } from '../wire/schema.js';
import { type AccessRules, admit, isHostAllowed, mayOpenSocket } from './gateway/access.js';
import { discardBody, type Exchange, type HeaderPair, respondText } from './gateway/exchange.js';
import type { GatewayContext } from './gateway/gateway.js';
import { createHttp1 } from './gateway/http1.js';
import { Http2Exchange } from './gateway/http2.js';
import type { Peer } from './grpc/call.js';
import type { RequestHead } from './http2/request-head.js';
import type { Stream, StreamReceiver } from './http2/stream.js';
import type { MemberPort } from './member-port.js';
import { scrape } from './metrics.js';

/** How long a health check's read may take (etcd: the server's request timeout). */
const healthTimeoutMs = 7_000;

const alarmNames = [
  { type: 1, name: 'NOSPACE' },
  { type: 2, name: 'CORRUPT' },
] as const;

/** The member behind an endpoint, as far as plain HTTP needs it. */
export interface HttpMember {
  readonly port: MemberPort;
  readonly cells: StatusCells;
}

export interface PlainHttpOptions {
  readonly access: AccessRules;
  /** Undefined: `--enable-grpc-gateway=false`. */
  readonly gateway: GatewayContext | undefined;
  /** Client certificates name users, though not here. */
  readonly commonNames: boolean;
  /** Undefined until the member exists. */
  readonly member: () => HttpMember | undefined;
}

/** etcd's. */
const mistakenText = 'CommonName of client sending a request against gateway will be ignored and not used as expected';

type ServeGateway = typeof import('./gateway/gateway.js').serveGateway;

/** The HTTP side of one endpoint; it listens nowhere itself. */
export class PlainHttp {
  /** Takes connections that are not HTTP/2. */
  readonly server: Server;
  readonly #options: PlainHttpOptions;
  #serveGateway: ServeGateway | undefined;

  constructor(options: PlainHttpOptions) {
    this.#options = options;
    this.server = createHttp1({
      accept: exchange => this.accept(exchange),
      upgrade: (request, socket, head) => this.#upgrade(request, socket, head),
    });
  }

  /** Takes an HTTP/2 request that is no gRPC call. */
  acceptStream(stream: Stream, head: RequestHead, peer: Peer): StreamReceiver {
    const exchange = new Http2Exchange(stream, head, peer);
    this.accept(exchange);
    return exchange;
  }

  /** Serves one request. */
  accept(exchange: Exchange): void {
    const path = pathOf(exchange.target);
    const { access, gateway, member } = this.#options;
    if (gateway !== undefined && path.startsWith('/v3/') && this.#isMistaken(exchange)) {
      respondText(exchange, 400, mistakenText);
      return discardBody(exchange);
    }
    if (!admit(access, exchange)) return discardBody(exchange);
    if (gateway !== undefined && path.startsWith('/v3/')) return this.#gateway(gateway, exchange, path);
    if (path === '/version') answerVersion(exchange, member());
    else if (path === '/health') answerHealth(exchange, member());
    else if (path === '/metrics') answerMetrics(exchange);
    else respondText(exchange, 404, '404 page not found');
    discardBody(exchange);
  }

  /** A client whose certificate would be its user, had it not come through the gateway. */
  #isMistaken({ peer }: Exchange): boolean {
    const { commonNames, member } = this.#options;
    return commonNames && peer.commonName !== undefined && member()?.cells.get(Cell.authEnabled) === 1;
  }

  #gateway(context: GatewayContext, exchange: Exchange, path: string): void {
    if (this.#serveGateway !== undefined) return this.#serveGateway(context, exchange, path);
    void import('./gateway/gateway.js').then(({ serveGateway }) => {
      this.#serveGateway = serveGateway;
      serveGateway(context, exchange, path);
    });
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): boolean {
    const { access, gateway } = this.#options;
    const { origin, host = '', upgrade } = request.headers;
    const wanted = upgrade?.toLowerCase() === 'websocket' && pathOf(request.url ?? '').startsWith('/v3/');
    if (!wanted || gateway === undefined || !isHostAllowed(access, host)) return false;
    if (!mayOpenSocket(access, origin, host)) {
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return true;
    }
    void import('./gateway/websocket.js').then(({ acceptWebsocket }) =>
      acceptWebsocket(request, socket, head, gateway.receiveBytesMax, exchange => this.accept(exchange)),
    );
    return true;
  }
}

/** The path of a request's target, old spellings made new: `/v3beta/…` is `/v3/…`. */
function pathOf(target: string): string {
  const local = /^https?:\/\/[^/?#]*/i.exec(target);
  const path = (local === null ? target : target.slice(local[0].length)).split(/[?#]/, 1)[0] as string;
  return path.startsWith('/v3beta/') ? path.replace('/v3beta/', '/v3/') : path;
}

function queryOf(target: string): URLSearchParams {
  const mark = target.indexOf('?');
  return new URLSearchParams(mark === -1 ? '' : target.slice(mark + 1));
}

function refuseMethod(exchange: Exchange): void {
  respondText(exchange, 405, 'Method Not Allowed', [['Allow', 'GET']]);
}

function answerMetrics(exchange: Exchange): void {
  if (exchange.method !== 'GET') return refuseMethod(exchange);
  scrape().then(
    ({ contentType, text }) => exchange.respond(200, [['Content-Type', contentType]], text),
    (error: unknown) => respondText(exchange, 500, `kvorum: ${String(error)}`),
  );
}

function answerVersion(exchange: Exchange, member: HttpMember | undefined): void {
  if (exchange.method !== 'GET') return refuseMethod(exchange);
  const decided = member !== undefined && member.cells.get(Cell.publishedAttributes) > 0;
  const number = member?.cells.get(Cell.clusterVersion) ?? 0;
  const version = number === 0 ? clusterVersion : `${Math.floor(number / 1000)}.${number % 1000}.0`;
  const body = {
    etcdserver: etcdVersion,
    etcdcluster: decided ? version : 'not_decided',
    storage: decided ? version : 'unknown',
  };
  exchange.respond(200, [['Content-Type', 'application/json']], JSON.stringify(body));
}

function answerHealth(exchange: Exchange, member: HttpMember | undefined): void {
  if (exchange.method !== 'GET') return refuseMethod(exchange);
  if (member === undefined) return unhealthy(exchange, 'RAFT NO LEADER');
  const { port, cells } = member;
  const query = queryOf(exchange.target);
  const excluded = query.getAll('exclude');
  const alarms = cells.get(Cell.alarms);
  for (const { type, name } of alarmNames) {
    if ((alarms & alarmBit(type)) !== 0 && !excluded.includes(name)) return unhealthy(exchange, `ALARM ${name}`);
  }
  const serializable = query.get('serializable') === 'true';
  if (!serializable && cells.get(Cell.leaderPosition) < 0) return unhealthy(exchange, 'RAFT NO LEADER');
  const range = encode('etcdserverpb.RangeRequest', { key: new Uint8Array(1), limit: 1n, serializable });
  let answered = false;
  const finish = (failure: string | undefined): void => {
    if (answered) return;
    answered = true;
    clearTimeout(timer);
    if (failure === undefined) healthy(exchange);
    else unhealthy(exchange, `RANGE ERROR:${failure}`);
  };
  const timer = setTimeout(() => finish('etcdserver: request timed out'), healthTimeoutMs);
  const waiter = {
    reply: () => finish(undefined),
    end: (code: EtcdErrorCode, detail: string) => finish(etcdError(code, detail).message),
  };
  port.open(Method.KvRange, range, false, waiter, undefined, true);
}

const plainText: HeaderPair = ['Content-Type', 'text/plain; charset=utf-8'];

function healthy(exchange: Exchange): void {
  exchange.respond(200, [plainText], '{"health":"true","reason":""}');
}

function unhealthy(exchange: Exchange, reason: string): void {
  exchange.respond(503, [plainText], `${JSON.stringify({ health: 'false', reason })}\n`);
}
