/**
 * Leases: keys that hang on one are gone when it is.
 *
 *     const lease = await client.lease({ ttlSeconds: 10 });
 *     await client.put('workers/7', 'up', { lease });
 *     lease.lost.addEventListener('abort', () => console.log(lease.lost.reason));
 *     await lease.revoke();                                   // or `await using lease = ...`
 *
 * A lease is renewed three times a TTL until it is revoked, released or lost. `lost` is aborted, with LeaseLostError as
 * the reason, when the server does not know the lease any more, when it could not be renewed for its whole TTL, and
 * when it was revoked here. It is a signal: pass it to whatever must not go on without the lease.
 */
import { GrpcCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import type { CallOptions, Channel } from './channel.js';
import { EtcdError } from './channel.js';
import { LeaseLostError } from './errors.js';
import type { LeaseKeeper } from './keep-alive.js';

export interface LeaseSettings {
  /** How long keys outlive the last renewal; servers raise what is less than some seconds. */
  readonly ttlSeconds: number;
  /** The id to give it; default: the server picks one. */
  readonly id?: bigint;
}

export interface LeaseOptions extends LeaseSettings, CallOptions {}

export interface TimeToLiveOptions extends CallOptions {
  /** Name the keys that hang on it too. */
  readonly keys?: boolean;
}

export interface LeaseGrant {
  readonly id: bigint;
  /** What the server granted. */
  readonly ttlSeconds: number;
}

export interface LeaseTimeToLive {
  /** Whole seconds left. */
  readonly ttlSeconds: number;
  readonly grantedTtlSeconds: number;
  /** Empty unless asked for. */
  readonly keys: readonly string[];
  readonly keyBytes: readonly Uint8Array[];
}

const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });

export async function grantLease(
  channel: Channel,
  settings: LeaseSettings,
  options?: CallOptions,
): Promise<LeaseGrant> {
  const request = encode('etcdserverpb.LeaseGrantRequest', { TTL: settings.ttlSeconds, ID: settings.id ?? 0n });
  const response = await channel.unary(Method.LeaseGrant, request, options);
  const { ID: id, TTL: ttl } = decode('etcdserverpb.LeaseGrantResponse', response);
  return { id, ttlSeconds: Number(ttl) };
}

export async function revokeLease(channel: Channel, id: bigint, options?: CallOptions): Promise<void> {
  await channel.unary(Method.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID: id }), options);
}

/** Undefined: there is no such lease. */
export async function leaseTimeToLive(
  channel: Channel,
  id: bigint,
  options?: TimeToLiveOptions,
): Promise<LeaseTimeToLive | undefined> {
  const request = encode('etcdserverpb.LeaseTimeToLiveRequest', { ID: id, keys: options?.keys ?? false });
  const response = await channel.unary(Method.LeaseTimeToLive, request, options);
  const { TTL: ttl, grantedTTL, keys } = decode('etcdserverpb.LeaseTimeToLiveResponse', response);
  if (ttl < 0n) return undefined;
  return {
    ttlSeconds: Number(ttl),
    grantedTtlSeconds: Number(grantedTTL),
    keys: keys.map(key => lenientDecoder.decode(key)),
    keyBytes: keys,
  };
}

export async function listLeases(channel: Channel, options?: CallOptions): Promise<bigint[]> {
  const response = await channel.unary(Method.LeaseLeases, new Uint8Array(0), options);
  return decode('etcdserverpb.LeaseLeasesResponse', response).leases.map(({ ID }) => ID);
}

/** A lease that is kept alive. */
export class Lease implements AsyncDisposable {
  readonly id: bigint;
  /** As the server granted it. */
  readonly ttlSeconds: number;
  readonly #channel: Channel;
  readonly #keeper: LeaseKeeper;
  readonly #lost = new AbortController();

  private constructor(channel: Channel, keeper: LeaseKeeper, grant: LeaseGrant) {
    this.id = grant.id;
    this.ttlSeconds = grant.ttlSeconds;
    this.#channel = channel;
    this.#keeper = keeper;
  }

  /** Grants a lease and begins to keep it. */
  static async grant(channel: Channel, keeper: LeaseKeeper, options: LeaseOptions): Promise<Lease> {
    const grantedAtMs = performance.now();
    const grant = await grantLease(channel, options, options);
    const lease = new Lease(channel, keeper, grant);
    keeper.keep({ id: lease.id, lost: how => lease.#lose(how) }, lease.ttlSeconds, grantedAtMs);
    return lease;
  }

  /** Aborted once the lease must be taken as gone. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Ends the lease: its keys are deleted, all in one revision. One that is gone already is no error. */
  async revoke(options?: CallOptions): Promise<void> {
    this.#keeper.drop(this.id);
    this.#lose('it was revoked');
    try {
      await revokeLease(this.#channel, this.id, options);
    } catch (error) {
      if (!(error instanceof EtcdError && error.code === GrpcCode.NotFound)) throw error;
    }
  }

  /** Renews it no more: its keys go when the TTL has passed. */
  release(): void {
    this.#keeper.drop(this.id);
  }

  /** What the server says is left; undefined: it does not know the lease. */
  timeToLive(options?: TimeToLiveOptions): Promise<LeaseTimeToLive | undefined> {
    return leaseTimeToLive(this.#channel, this.id, options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.revoke();
  }

  #lose(how: string): void {
    if (!this.#lost.signal.aborted) this.#lost.abort(new LeaseLostError(this.id, how));
  }
}
