/**
 * The metadata of a gateway call out of its HTTP headers, as etcd's gateway forwards them:
 *
 *     authorization           as it is (and, like all general headers, prefixed too)
 *     Grpc-Metadata-<name>    <name>
 *     accept, user-agent, …   grpcgateway-<name>
 *     anything else           not at all
 */
import type { Metadata } from '../grpc/call.js';
import type { HeaderPair } from './exchange.js';

const metadataPrefix = 'grpc-metadata-';

/** The general headers of the HTTP registry that the gateway passes on with a prefix. */
const general: ReadonlySet<string> = new Set([
  ...['accept', 'accept-charset', 'accept-language', 'accept-ranges', 'authorization', 'cache-control'],
  ...['content-type', 'cookie', 'date', 'expect', 'from', 'host', 'if-match', 'if-modified-since', 'if-none-match'],
  ...['if-schedule-tag-match', 'if-unmodified-since', 'max-forwards', 'origin', 'pragma', 'referer', 'user-agent'],
  ...['via', 'warning'],
]);

export class GatewayMetadata implements Metadata {
  memo: unknown = undefined;
  readonly #pairs: readonly HeaderPair[];

  constructor(headers: readonly HeaderPair[]) {
    this.#pairs = headers.flatMap(([name, value]) => forwarded(name).map(key => [key, value] as const));
  }

  get(name: string): string | undefined {
    return this.#pairs.find(([key]) => key === name)?.[1];
  }

  getAll(name: string): string[] {
    return this.#pairs.filter(([key]) => key === name).map(([, value]) => value);
  }

  getBytes(name: string): Uint8Array | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (!name.endsWith('-bin')) return Buffer.from(value, 'latin1');
    return /^[A-Za-z0-9+/]*={0,2}$/.test(value) ? Buffer.from(value, 'base64') : undefined;
  }

  names(): string[] {
    return [...new Set(this.#pairs.map(([key]) => key))];
  }
}

/** The keys under which a header travels on. */
function forwarded(name: string): string[] {
  if (name === 'authorization') return [name, `grpcgateway-${name}`];
  if (general.has(name)) return [`grpcgateway-${name}`];
  if (!name.startsWith(metadataPrefix)) return [];
  const key = name.slice(metadataPrefix.length);
  // Names that gRPC keeps for itself are no metadata.
  return /^[0-9a-z_.-]+$/.test(key) && !key.startsWith('grpc-') ? [key] : [];
}
