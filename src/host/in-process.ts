/**
 * The in-process channel: the client library's requests go into a member's ring exactly as a gRPC call's do, only
 * without sockets, HTTP/2 and trailers.
 */
import { type Channel, createClient, type EtcdClient, EtcdError } from '../client/client.js';
import { EtcdErrorCode, etcdError } from '../wire/errors.js';
import type { Method } from '../wire/methods.js';
import type { MemberPort, Waiter } from './member-port.js';

/** A client whose calls go to the member `port` names at the time of each call. */
export function inProcessClient(port: () => MemberPort): EtcdClient {
  const channel: Channel = {
    stream: () => {
      throw new Error('streams come with the next commit');
    },
    unary: (method, request, options) =>
      new Promise((resolve, reject) => {
        new InProcessCall(port(), method, request, options ?? {}, resolve, reject);
      }),
  };
  return createClient(channel);
}

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

class InProcessCall implements Waiter {
  readonly #resolve: (message: Uint8Array) => void;
  readonly #reject: (error: Error) => void;
  readonly #port: MemberPort;
  readonly #requestId: number;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(
    port: MemberPort,
    method: Method,
    request: Uint8Array,
    options: CallOptions,
    resolve: (message: Uint8Array) => void,
    reject: (error: Error) => void,
  ) {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#port = port;
    this.#signal = options.signal;
    if (options.signal?.aborted === true) {
      this.#requestId = -1;
      reject(options.signal.reason as Error);
      return;
    }
    if (options.timeoutMs !== undefined) {
      this.#timer = setTimeout(() => this.#giveUp(failure(EtcdErrorCode.ContextDeadlineExceeded)), options.timeoutMs);
    }
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#requestId = port.open(method, request, false, this);
  }

  reply(message: Uint8Array): void {
    this.#settle();
    this.#resolve(message.slice());
  }

  end(code: EtcdErrorCode, detail: string): void {
    this.#settle();
    this.#reject(failure(code, detail));
  }

  readonly #onAbort = (): void => this.#giveUp(this.#signal?.reason as Error);

  #giveUp(error: Error): void {
    this.#settle();
    if (this.#requestId >= 0) this.#port.cancel(this.#requestId);
    this.#reject(error);
  }

  #settle(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

function failure(code: EtcdErrorCode, detail = ''): EtcdError {
  const { grpcCode, message } = etcdError(code, detail);
  return new EtcdError(grpcCode, message);
}
