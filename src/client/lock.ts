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
import { Held, type HoldOptions, hold } from './holding.js';
import { acquire } from './queue.js';
import { type Bytes, toBytes } from './ranges.js';

export type LockOptions = HoldOptions;

export class Lock extends Held implements AsyncDisposable {
  /** Waits for the lock. When it is given up, by signal or timeout, no key is left behind. */
  static async acquire(client: EtcdClient, name: Bytes, options: LockOptions): Promise<Lock> {
    return new Lock(await hold(client, options, (lease, signal) => acquire(client, toBytes(name), lease, signal)));
  }

  /** Gives the lock to the next. One that is lost already is no error. */
  unlock(options?: CallOptions): Promise<void> {
    return this.release(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
