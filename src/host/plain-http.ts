/**
 * What a client endpoint serves besides gRPC, over HTTP/1 and HTTP/2 alike: /version, /metrics, health checks
 * (health.ts) and etcd's JSON gateway.
 *
 *     connection without the HTTP/2 preface --> http1 --,
 *     HTTP/2 request that is no gRPC call ----> http2 --+--> access rules --> /version, /health, /metrics, /v3/…, 404
 *     websocket below /v3/ -------------------> websocket
 *
 * The gateway, the websockets and the metrics are loaded when somebody first asks for them: most clusters never do.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { clusterVersion, etcdVersion } from '../base/version.js';
import { Cell } from '../transport/control.js';
import { type AccessRules, admit, isHostAllowed, mayOpenSocket } from './gateway/access.js';
import { discardBody, type Exchange, respondText } from './gateway/exchange.js';
import type { GatewayContext } from './gateway/gateway.js';
import { createHttp1 } from './gateway/http1.js';
import { Http2Exchange } from './gateway/http2.js';
import type { Peer } from './grpc/call.js';
import { answerHealth, type HealthMember } from './health.js';
import type { RequestHead } from './http2/request-head.js';
import type { Stream, StreamReceiver } from './http2/stream.js';
import type { EndpointRegistry, Scrape } from './metrics/registry.js';
import type { MetricsSource } from './metrics/source.js';

/** The member behind an endpoint, as far as plain HTTP needs it. */
export type HttpMember = HealthMember;

export interface PlainHttpOptions {
  readonly access: AccessRules;
  /** Undefined: `--enable-grpc-gateway=false`. */
  readonly gateway: GatewayContext | undefined;
  /** Client certificates name users, though not here. */
  readonly commonNames: boolean;
  /** Undefined until the member exists. */
  readonly member: () => HttpMember | undefined;
  readonly metrics: MetricsSource;
  /** Nothing but /metrics and the health checks. */
  readonly monitoringOnly?: boolean;
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
  #registry: Promise<EndpointRegistry> | undefined;

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
    const { access, gateway, member, metrics, monitoringOnly = false } = this.#options;
    if (gateway !== undefined && path.startsWith('/v3/') && this.#isMistaken(exchange)) {
      respondText(exchange, 400, mistakenText);
      return discardBody(exchange);
    }
    if (!admit(access, exchange)) return discardBody(exchange);
    if (gateway !== undefined && path.startsWith('/v3/')) return this.#gateway(gateway, exchange, path);
    if (path === '/version' && !monitoringOnly) answerVersion(exchange, member());
    else if (path === '/metrics') this.#answerMetrics(exchange);
    else if (!answerHealth(exchange, path, member(), metrics.health)) respondText(exchange, 404, '404 page not found');
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

  #answerMetrics(exchange: Exchange): void {
    if (exchange.method !== 'GET') return refuseMethod(exchange);
    this.#scrape().then(
      ({ contentType, text }) => exchange.respond(200, [['Content-Type', contentType]], text),
      (error: unknown) => respondText(exchange, 500, `kvorum: ${String(error)}`),
    );
  }

  async #scrape(): Promise<Scrape> {
    this.#registry ??= import('./metrics/registry.js').then(
      ({ EndpointRegistry }) => new EndpointRegistry(this.#options.metrics),
    );
    return await (await this.#registry).scrape();
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

function refuseMethod(exchange: Exchange): void {
  respondText(exchange, 405, 'Method Not Allowed', [['Allow', 'GET']]);
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
