/**
 * One of --listen-metrics-urls: a member's /metrics, /health, /livez and /readyz, and nothing else, on an address of their
 * own. It comes and goes with the member's endpoint.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { StartError } from './data-directory.js';
import { listenOn } from './free-port.js';
import type { ListenAddress } from './options.js';
import { PlainHttp, type PlainHttpOptions } from './plain-http.js';

export class MetricsListener {
  readonly #address: ListenAddress;
  readonly #options: Omit<PlainHttpOptions, 'gateway' | 'monitoringOnly'>;
  readonly #connectionsMax: number;
  #port: number;
  #http: PlainHttp | undefined;

  constructor(
    address: ListenAddress,
    options: Omit<PlainHttpOptions, 'gateway' | 'monitoringOnly'>,
    connectionsMax = Number.POSITIVE_INFINITY,
  ) {
    this.#address = address;
    this.#port = address.port;
    this.#options = options;
    this.#connectionsMax = connectionsMax;
  }

  get url(): string {
    const { host } = this.#address;
    return `http://${host.includes(':') ? `[${host}]` : host}:${this.#port}`;
  }

  /** Throws StartError when the address cannot be had. */
  async open(): Promise<void> {
    if (this.#http !== undefined) return;
    const http = new PlainHttp({ ...this.#options, gateway: undefined, monitoringOnly: true });
    try {
      await listenOn(this.#port, async port => {
        http.server.maxConnections = this.#connectionsMax;
        http.server.listen(port, this.#address.host);
        await once(http.server, 'listening');
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const address = `${this.#address.host}:${this.#port}`;
      const what = code === 'EADDRINUSE' ? `${address} is in use` : `cannot listen on ${address}: ${code ?? message}`;
      throw new StartError(`${what}; choose other addresses with --listen-metrics-urls (port 0 picks a free one)`);
    }
    this.#port = (http.server.address() as AddressInfo).port;
    this.#http = http;
  }

  async close(): Promise<void> {
    const server = this.#http?.server;
    this.#http = undefined;
    if (server === undefined) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}
