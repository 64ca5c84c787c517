/**
 * What locks and leaderships have in common on the side of their holder: the lease they hang on, and a signal that
 * tells when they must be taken as lost.
 */
import { GrpcCode } from '../wire/errors.js';
import { type CallOptions, EtcdError } from './channel.js';
import type { EtcdClient } from './client.js';
import { Lease } from './lease.js';
import { type Place, readOwn, untilDeleted, type WireHeader } from './queue.js';
import { type LeaseRef, leaseIdOf } from './requests.js';
import { backoffMs, pause } from './scope.js';

export interface HoldOptions extends CallOptions {
  /** The lease to hang on. One lease stands in a queue once: whoever shares it shares the place. */
  readonly lease?: LeaseRef;
  /** Without `lease`: the time after which others take over when this process is gone; default 10. */
  readonly ttlSeconds?: number;
}

/** A lock or leadership is not held any more: its key was deleted by someone else. */
export class OwnershipLostError extends EtcdError {
  override readonly name = 'OwnershipLostError';

  constructor(key: Uint8Array) {
    super(GrpcCode.NotFound, `${new TextDecoder().decode(key)} is lost: the key was deleted`);
  }
}

const ttlDefaultSeconds = 10;
/** How long one that gives up waits for its traces to be removed; what takes longer is removed behind its back. */
const cleanUpMs = 1_000;

/** The lease that something hangs on: the caller's, or one of its own that ends with it. */
export class Session {
  readonly lease: bigint;
  readonly lost: AbortSignal | undefined;
  readonly #own: Lease | undefined;

  private constructor(lease: LeaseRef, own: Lease | undefined) {
    this.lease = leaseIdOf(lease);
    this.lost = lease instanceof Lease ? lease.lost : undefined;
    this.#own = own;
  }

  static async open(client: EtcdClient, options: HoldOptions, signal: AbortSignal): Promise<Session> {
    if (options.lease !== undefined) return new Session(options.lease, undefined);
    const own = await client.lease({ ttlSeconds: options.ttlSeconds ?? ttlDefaultSeconds, signal });
    return new Session(own, own);
  }

  /** Whether the lease ends with the session, and all keys with it. */
  get isOwn(): boolean {
    return this.#own !== undefined;
  }

  async close(options?: CallOptions): Promise<void> {
    await this.#own?.revoke(options);
  }
}

/** Runs `work` and rejects with the signal's reason soon after that is aborted, even if `work` still cleans up. */
export function soonAfterAbort<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => reject(signal.reason as Error), cleanUpMs);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    });
  });
}

/** Watches over a key that is held, until `end`. */
export class Guard {
  readonly #lost = new AbortController();
  readonly #stop = new AbortController();
  readonly #leaseLost: AbortSignal | undefined;

  constructor(client: EtcdClient, place: Place, leaseLost: AbortSignal | undefined) {
    this.#leaseLost = leaseLost;
    if (leaseLost?.aborted === true) this.#onLeaseLost();
    leaseLost?.addEventListener('abort', this.#onLeaseLost, { once: true });
    this.#watch(client, place).catch((error: unknown) => this.#lose(error));
  }

  /** Aborted once the key is gone or may be: its reason says why. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The key is given back: nothing is lost any more. */
  end(): void {
    this.#leaseLost?.removeEventListener('abort', this.#onLeaseLost);
    this.#stop.abort();
  }

  readonly #onLeaseLost = (): void => this.#lose(this.#leaseLost?.reason);

  async #watch(client: EtcdClient, place: Place): Promise<void> {
    let revision = Number(place.header.revision);
    const { signal } = this.#stop;
    while (!(await untilDeleted(client, place.key, revision, signal))) {
      const header = await this.#readOwn(client, place);
      if (header === undefined) break;
      revision = Number(header.revision);
    }
    throw new OwnershipLostError(place.key);
  }

  /** Asks until there is an answer: while the lease lives, a server that is away takes nothing. */
  async #readOwn(client: EtcdClient, place: Place): Promise<WireHeader | undefined> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await readOwn(client.channel, place);
      } catch (error) {
        if (!(error instanceof EtcdError && error.code === GrpcCode.Unavailable)) throw error;
        await pause(backoffMs(attempt), this.#stop.signal);
      }
    }
  }

  #lose(reason: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.end();
    this.#lost.abort(reason);
  }
}
