/**
 * One member's client endpoint: a TCP listener on a fixed address that speaks gRPC, plain HTTP and JSON, over TLS if its
 * URL says https.
 *
 * It is bound before the member exists, so that the real port is known and a port in use is found early. When the
 * member is taken down the listener closes, as the member's process would; `reopen` binds the same port again.
 */
import { assert } from '../base/assert.js';
import { grpcOverheadBytes, type MemberSettings } from '../transport/control.js';
import { EtcdErrorCode, etcdError } from '../wire/errors.js';
import type { HostAuth } from './auth/host-auth.js';
import { StartError } from './data-directory.js';
import { isLoopback } from './edge.js';
import { listenOn } from './free-port.js';
import { deafListener, type Service } from './grpc/call.js';
import { countedService } from './grpc/counted-call.js';
import { GrpcCounts } from './grpc/counts.js';
import { createGrpcListener, type GrpcListener } from './grpc/server.js';
import { HealthCounts } from './health.js';
import type { Http2Limits } from './http2/limits.js';
import type { MemberHandle } from './member-handle.js';
import { MemberView } from './member-view.js';
import { MetricsListener } from './metrics-listener.js';
import type { HttpSettings, ListenAddress } from './options.js';
import { PlainHttp } from './plain-http.js';
import { memberService } from './router.js';
import { Sources } from './sources.js';
import type { TlsFront } from './tls/front.js';
import type { OpenTls } from './tls/open.js';

export class Endpoint {
  readonly #auth: HostAuth;
  readonly #host: string;
  /** Undefined: cleartext. */
  readonly #tls: OpenTls | undefined;
  readonly #plainHttp: PlainHttp;
  readonly #receiveBytesMax: number;
  readonly #counts: GrpcCounts;
  readonly #metricsListener: MetricsListener | undefined;
  readonly #limits: Partial<Http2Limits>;
  #boundAddress = '';
  #port: number;
  #service: Service = refuseAll;
  #handle: MemberHandle | undefined;
  #view: MemberView | undefined;
  #listener: GrpcListener | undefined;
  #front: TlsFront | undefined;

  private constructor(
    address: ListenAddress,
    settings: MemberSettings,
    http: HttpSettings,
    auth: HostAuth,
    tls: OpenTls | undefined,
    metricsAddress: ListenAddress | undefined,
  ) {
    assert(!address.secure || tls !== undefined, 'an https endpoint without certificates');
    this.#auth = auth;
    this.#host = address.host;
    this.#tls = address.secure ? tls : undefined;
    this.#port = address.port;
    this.#receiveBytesMax = settings.maxRequestBytes + grpcOverheadBytes;
    this.#counts = new GrpcCounts(http.metrics === 'extensive');
    const gateway = {
      service: countedService(call => this.#service(call), this.#counts),
      receiveBytesMax: this.#receiveBytesMax,
    };
    this.#limits = http.limits;
    const member = () => this.#handle;
    const metrics = {
      member: () => this.#view,
      grpc: this.#counts,
      health: new HealthCounts(),
      load: () => ({ connections: this.#listener?.connections() ?? 0, calls: this.#listener?.calls() ?? 0 }),
    };
    const shared = { access: http, commonNames: auth.commonNames, member, metrics };
    this.#plainHttp = new PlainHttp({ ...shared, gateway: http.enableGrpcGateway ? gateway : undefined });
    this.#metricsListener = metricsAddress && new MetricsListener(metricsAddress, shared, http.limits.connectionsMax);
  }

  /** Binds `address`, with port 0 a free one; throws StartError when it is in use or not allowed. */
  static async bind(
    address: ListenAddress,
    settings: MemberSettings,
    http: HttpSettings,
    auth: HostAuth,
    tls: OpenTls | undefined,
    metricsAddress?: ListenAddress,
  ): Promise<Endpoint> {
    const endpoint = new Endpoint(address, settings, http, auth, tls, metricsAddress);
    await endpoint.#metricsListener?.open();
    try {
      await listenOn(address.port, async port => {
        endpoint.#port = port;
        await endpoint.#listen();
      });
    } catch (error) {
      await endpoint.#metricsListener?.close();
      throw error;
    }
    return endpoint;
  }

  get url(): string {
    const host = this.#host.includes(':') ? `[${this.#host}]` : this.#host;
    return `${this.#tls === undefined ? 'http' : 'https'}://${host}:${this.#port}`;
  }

  /** Where else its metrics are to be had. */
  get metricsUrl(): string | undefined {
    return this.#metricsListener?.url;
  }

  /** Other machines reach it, and nothing is encrypted. */
  get isExposed(): boolean {
    return this.url.startsWith('http:') && !isLoopback(this.#boundAddress);
  }

  /** From now on calls go to this member. */
  serve(handle: MemberHandle): void {
    this.#handle = handle;
    this.#view = new MemberView(handle);
    this.#service = memberService(handle.port, this.#auth, handle.serving);
  }

  async reopen(): Promise<void> {
    await this.#metricsListener?.open();
    if (this.#listener === undefined) await this.#listen();
  }

  /** Stops listening; open calls get `graceMs` to end, then their connections are cut. */
  async close(graceMs: number): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.#front?.close();
    await Promise.all([this.#metricsListener?.close(), listener?.close(graceMs)]);
  }

  async #listen(): Promise<void> {
    const front = this.#tls?.front((socket, protocol, name) => listener.attach(socket, protocol, name));
    const listener = createGrpcListener({
      service: call => this.#service(call),
      httpServer: this.#plainHttp.server,
      acceptPlain: (stream, head, peer) => this.#plainHttp.acceptStream(stream, head, peer),
      receiveBytesMax: this.#receiveBytesMax,
      encrypt: front && (socket => front.accept(socket)),
      limits: this.#limits,
      counts: this.#counts,
      sources: new Sources((source, isHeld) => this.#handle?.port.hold(source, isHeld)),
    });
    try {
      const { address, port } = await listener.listen(this.#host, this.#port);
      this.#port = port;
      this.#boundAddress = address;
      this.#listener = listener;
      this.#front = front;
    } catch (error) {
      throw new StartError(this.#refusal(error as NodeJS.ErrnoException));
    }
  }

  #refusal(error: NodeJS.ErrnoException): string {
    const address = `${this.#host}:${this.#port}`;
    if (error.code === 'EADDRINUSE') {
      const other = 'choose other ports with --listen-client-urls (port 0 picks a free one)';
      return `${address} is in use; stop what listens there or ${other}`;
    }
    return `cannot listen on ${address}: ${error.code ?? error.message}; choose other addresses with --listen-client-urls`;
  }
}

/** Before its member exists an endpoint answers as a stopped server. */
const refuseAll: Service = call => {
  const { grpcCode, message } = etcdError(EtcdErrorCode.Stopped);
  call.end(grpcCode, message);
  return deafListener;
};
