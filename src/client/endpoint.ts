/**
 * One server address with its connection, which @grpc/grpc-js makes, keeps and makes again.
 */
import type * as Grpc from '@grpc/grpc-js';
import { GrpcCode } from '../wire/errors.js';
import { EtcdError } from './channel.js';
import type { TlsOptions } from './remote.js';
import { noToken } from './session.js';

/** The connection is asked for a sign of life this often while calls run; etcd servers refuse less than 5 s. */
const keepAliveTimeMs = 10_000;
const keepAliveTimeoutMs = 5_000;
const reconnectMs = { first: 100, last: 2_000 } as const;
const diagnosisMs = 50;
const portDefault = '2379';

/** Numbers of gRPC's connectivity states. */
const State = { Ready: 2, TransientFailure: 3, Shutdown: 4 } as const;

/** A call that failed, and whether it is certain that the server never heard of it. */
export class CallFailure extends EtcdError {
  readonly neverSent: boolean;

  constructor(error: Partial<Grpc.ServiceError>) {
    // Errors of Node's streams are not statuses: they have a text for a code, and no details.
    const details = error.details ?? String(error.message);
    super(typeof error.code === 'number' ? error.code : GrpcCode.Internal, details);
    // The words of the load balancer that had no connection to give.
    this.neverSent = details.startsWith('No connection established');
  }
}

export class Endpoint {
  /** As the user wrote it. */
  readonly address: string;
  readonly #client: Grpc.Client;
  readonly #metadata: Grpc.Metadata;
  /** The token in it. */
  #token = noToken;

  constructor(grpc: typeof Grpc, address: string, tls: TlsOptions | undefined) {
    const { isSecure = tls !== undefined, target } = parseAddress(address);
    const verify = { rejectUnauthorized: tls?.insecureSkipVerify !== true };
    const credentials = isSecure
      ? grpc.credentials.createSsl(bufferOf(tls?.ca), bufferOf(tls?.key), bufferOf(tls?.cert), verify)
      : grpc.credentials.createInsecure();
    const names =
      tls?.serverName === undefined
        ? {}
        : { 'grpc.ssl_target_name_override': tls.serverName, 'grpc.default_authority': tls.serverName };
    this.address = address;
    this.#metadata = new grpc.Metadata();
    this.#client = new grpc.Client(target, credentials, {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.keepalive_time_ms': keepAliveTimeMs,
      'grpc.keepalive_timeout_ms': keepAliveTimeoutMs,
      'grpc.initial_reconnect_backoff_ms': reconnectMs.first,
      'grpc.max_reconnect_backoff_ms': reconnectMs.last,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.service_config_disable_resolution': 1,
      ...names,
    });
  }

  get isConnected(): boolean {
    return this.#client.getChannel().getConnectivityState(true) === State.Ready;
  }

  /** Whether there is a connection; waits for one that is being made. */
  async connect(timeoutMs: number): Promise<boolean> {
    const channel = this.#client.getChannel();
    const deadlineMs = Date.now() + timeoutMs;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === State.Ready) return true;
      if (state === State.TransientFailure || state === State.Shutdown) return false;
      const failure = await new Promise<Error | undefined>(resolve => {
        channel.watchConnectivityState(state, deadlineMs, resolve);
      });
      if (failure !== undefined) return channel.getConnectivityState(false) === State.Ready;
    }
  }

  /** Why there is no connection: grpc-js tells only calls, so one is made that is answered without a connection. */
  async whyNot(): Promise<string> {
    const never = new AbortController().signal;
    const path = '/grpc.health.v1.Health/Check';
    const outcome = await this.unary(path, Buffer.alloc(0), noToken, Date.now() + diagnosisMs, never);
    if (!(outcome instanceof CallFailure) || outcome.code !== GrpcCode.Unavailable) return 'no answer in time';
    return /Last error: (?:Error: )?(.*?)\.? Resolution note/s.exec(outcome.message)?.[1] ?? outcome.message;
  }

  /** The answer, or how the call failed; rejects with the signal's reason. */
  unary(
    path: string,
    request: Buffer,
    token: string,
    deadlineMs: number | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array | CallFailure> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const options = deadlineMs === undefined ? {} : { deadline: deadlineMs };
      const call = this.#client.makeUnaryRequest(
        ...([path, asItIs, asItIs, request, this.#metadataOf(token), options] as const),
        (error: Grpc.ServiceError | null, answer?: Buffer) => {
          signal.removeEventListener('abort', onAbort);
          resolve(error === null ? (answer as Buffer) : new CallFailure(error));
        },
      );
      const onAbort = (): void => {
        reject(signal.reason as Error);
        call.cancel();
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Every kind of stream is the same on the wire. */
  stream(path: string, metadata: Grpc.Metadata): Grpc.ClientDuplexStream<Buffer, Buffer> {
    return this.#client.makeBidiStreamRequest(path, asItIs, asItIs, metadata);
  }

  close(): void {
    this.#client.close();
  }

  /** One for all calls with the same token. */
  #metadataOf(token: string): Grpc.Metadata {
    if (token !== this.#token) {
      this.#token = token;
      this.#metadata.remove('token');
      if (token !== noToken) this.#metadata.set('token', token);
    }
    return this.#metadata;
  }
}

function asItIs(bytes: Buffer): Buffer {
  return bytes;
}

function bufferOf(pem: string | Uint8Array | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}

/** What an endpoint's address means, `isSecure` if it says so; throws TypeError when it is none. */
export function parseAddress(address: string): { isSecure: boolean | undefined; target: string } {
  const match = /^(?:(https?):\/\/)?(\[[0-9a-fA-F:.%]+\]|[^\s/:[\]]+)(?::(\d+))?\/?$/.exec(address.trim());
  if (match === null)
    throw new TypeError(`connect: not an endpoint: "${address}" (wanted: host:port, http://host:port)`);
  const [, scheme, host, port = portDefault] = match;
  return { isSecure: scheme === undefined ? undefined : scheme === 'https', target: `dns:${host}:${port}` };
}
