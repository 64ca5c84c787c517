/**
 * What locks and leaderships have in common: how they are taken, the lease they hang on, a signal that tells when they
 * must be taken as lost, and how they are given back.
 *
 *     hold(client, options, take) -> Held { key, revision, lost }
 */
import { GrpcCode } from '../wire/errors.js';
import { type CallOptions, EtcdError } from './channel.js';
import type { EtcdClient } from './client.js';
import { Lease } from './lease.js';
import { leave, type Place, readOwn, untilDeleted, type WireHeader } from './queue.js';
import { type LeaseRef, leaseIdOf } from './requests.js';
import { backoffMs, pause, Scope } from './scope.js';

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

const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
const ttlDefaultSeconds = 10;
/** How long one that gives up waits for its traces to be removed; what takes longer is removed behind its back. */
const cleanUpMs = 1_000;

/** The lease that something hangs on: the caller's, or one of its own that ends with it. */
class Session {
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

/** What was taken, with the lease it hangs on. */
export interface Holding {
  readonly client: EtcdClient;
  readonly session: Session;
  readonly place: Place;
}

/** Takes a place in a queue and waits for its turn. When it is given up, by signal or timeout, no key is left behind. */
export async function hold(
  client: EtcdClient,
  options: HoldOptions,
  take: (lease: bigint, signal: AbortSignal) => Promise<Place>,
): Promise<Holding> {
  const scope = new Scope(options);
  try {
    return await soonAfterAbort(holdUntil(client, options, take, scope.signal), scope.signal);
  } finally {
    scope.end();
  }
}

async function holdUntil(
  client: EtcdClient,
  options: HoldOptions,
  take: (lease: bigint, signal: AbortSignal) => Promise<Place>,
  signal: AbortSignal,
): Promise<Holding> {
  const session = await Session.open(client, options, signal);
  const scope = new Scope({ signal }, session.lost);
  try {
    return { client, session, place: await take(session.lease, scope.signal) };
  } catch (error) {
    await session.close().catch(() => {});
    throw error;
  } finally {
    scope.end();
  }
}

/** Something that is held until it is given back or lost. */
export class Held {
  readonly keyBytes: Uint8Array;
  /** The key's create revision: it grows from holder to holder. */
  readonly revision: number;
  protected readonly holding: Holding;
  readonly #guard: Guard;

  constructor(holding: Holding) {
    const { client, place, session } = holding;
    this.keyBytes = place.key;
    this.revision = place.revision;
    this.holding = holding;
    this.#guard = new Guard(client, place, session.lost);
  }

  get key(): string {
    return lenientDecoder.decode(this.keyBytes);
  }

  /** Aborted when it must be taken as lost; not when it is given back. */
  get lost(): AbortSignal {
    return this.#guard.lost;
  }

  /** Gives it to the next in the queue. What is lost already is no error. */
  protected async release(options: CallOptions = {}): Promise<void> {
    this.#guard.end();
    const { client, place, session } = this.holding;
    if (session.isOwn) return session.close(options);
    const scope = new Scope(options);
    try {
      await leave(client.channel, place, scope.signal);
    } finally {
      scope.end();
    }
  }
}

/** Runs `work` and rejects with the signal's reason soon after that is aborted, even if `work` still cleans up. */
function soonAfterAbort<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
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
class Guard {
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
