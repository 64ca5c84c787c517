/**
 * Locks, fair: who asked first is next. They exclude `etcdctl lock`, Go's concurrency package and the Lock service too.
 *
 *     const lock = await client.lock('jobs/nightly', { ttlSeconds: 10, signal });
 *     try {
 *       await work({ signal: lock.lost });
 *     } finally {
 *       await lock.unlock();                       // or: await using lock = await client.lock(...)
 *     }
 *
 * A lock hangs on a lease of its own, kept alive, or on the caller's. It is lost when the lease is, or when someone
 * deletes its key: `lost` is aborted then. A lease says who should act, not who does: what must never be done twice is
 * guarded by a transaction that compares `lock.key`'s create revision with `lock.revision`.
 */
import type { CallOptions } from './channel.js';
import type { EtcdClient } from './client.js';
import { Guard, type HoldOptions, Session, soonAfterAbort } from './holding.js';
import { acquire, leave, type Place } from './queue.js';
import { type Bytes, toBytes } from './ranges.js';
import { Scope } from './scope.js';

export type LockOptions = HoldOptions;

const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class Lock implements AsyncDisposable {
  readonly keyBytes: Uint8Array;
  /** The key's create revision: it grows from holder to holder. */
  readonly revision: number;
  readonly #client: EtcdClient;
  readonly #session: Session;
  readonly #place: Place;
  readonly #guard: Guard;

  private constructor(client: EtcdClient, session: Session, place: Place) {
    this.keyBytes = place.key;
    this.revision = place.revision;
    this.#client = client;
    this.#session = session;
    this.#place = place;
    this.#guard = new Guard(client, place, session.lost);
  }

  /** Waits for the lock. When it is given up, by signal or timeout, no key is left behind. */
  static async acquire(client: EtcdClient, name: Bytes, options: LockOptions): Promise<Lock> {
    const scope = new Scope(options);
    try {
      return await soonAfterAbort(Lock.#acquire(client, name, options, scope.signal), scope.signal);
    } finally {
      scope.end();
    }
  }

  static async #acquire(client: EtcdClient, name: Bytes, options: LockOptions, signal: AbortSignal): Promise<Lock> {
    const session = await Session.open(client, options, signal);
    const scope = new Scope({ signal }, session.lost);
    try {
      return new Lock(client, session, await acquire(client, toBytes(name), session.lease, scope.signal));
    } catch (error) {
      await session.close().catch(() => {});
      throw error;
    } finally {
      scope.end();
    }
  }

  get key(): string {
    return lenientDecoder.decode(this.keyBytes);
  }

  /** Aborted when the lock must be taken as lost; not by `unlock`. */
  get lost(): AbortSignal {
    return this.#guard.lost;
  }

  /** Gives the lock to the next. One that is lost already is no error. */
  async unlock(options: CallOptions = {}): Promise<void> {
    this.#guard.end();
    if (this.#session.isOwn) return this.#session.close(options);
    const scope = new Scope(options);
    try {
      await leave(this.#client.channel, this.#place, scope.signal);
    } finally {
      scope.end();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unlock();
  }
}
