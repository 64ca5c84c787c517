/**
 * One unary question to a member, as a promise.
 */
import { setMaxListeners } from 'node:events';
import { type CallOptions, EtcdError } from '../client/channel.js';
import { EtcdErrorCode, etcdError } from '../wire/errors.js';
import type { Method } from '../wire/methods.js';
import type { MemberPort, Waiter } from './member-port.js';

/** Who asks. */
export interface Asker {
  /** A client, as transport/caller.ts encodes it; undefined: one that says nothing of itself. */
  readonly caller?: Uint8Array | undefined;
  /** The server itself, which needs no right. */
  readonly ofServer?: boolean;
  /** To be refused at once when no leader is known. */
  readonly requireLeader?: boolean;
}

/** What a question needs of a member's port. */
export type AskedPort = Pick<MemberPort, 'open' | 'cancel'>;

/** The server itself. */
export const serverAsks: Asker = { ofServer: true };

/** The member's answer, the caller's to keep. Rejects with EtcdError or the signal's reason. */
export function askMember(
  port: AskedPort,
  method: Method,
  request: Uint8Array,
  options: CallOptions,
  asker: Asker,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    new MemberCall(port, method, request, options, asker, resolve, reject);
  });
}

class MemberCall implements Waiter {
  readonly #resolve: (message: Uint8Array) => void;
  readonly #reject: (error: Error) => void;
  readonly #port: AskedPort;
  readonly #requestId: number;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(
    port: AskedPort,
    method: Method,
    request: Uint8Array,
    options: CallOptions,
    { caller, ofServer, requireLeader = false }: Asker,
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
    if (options.signal !== undefined) {
      // One signal for any number of calls is what signals are for, not a leak.
      setMaxListeners(0, options.signal);
      options.signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#requestId = port.open(method, request, requireLeader, this, caller, ofServer);
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

/** A row of the table, completed by the member's detail, as a client's error. */
export function failure(code: EtcdErrorCode, detail = ''): EtcdError {
  const { grpcCode, message } = etcdError(code, detail);
  return new EtcdError(grpcCode, message);
}
