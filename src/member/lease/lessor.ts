/**
 * Leases: what all members know of them, and the clock that only the leader's are held against.
 *
 *   replicated   id, granted TTL, checkpoint, keys      grant, remove, checkpoint, attach: only from applied entries
 *   primary      expiry                                 promote to demote; unknown to everybody else
 *
 *   expiry passes ─> dueRevocations() ─> the leader proposes a revocation ─> applied everywhere: keys deleted, remove()
 *                        └─ asked for again after 3 s while the lease is still there
 *
 * Nothing here ends a lease by itself. One past its expiry cannot be renewed any more (L6), but exists until its
 * revocation is applied. A new leader gives every lease its full time again, or what the last checkpoint left of it.
 *
 * Time is the turn's, in monotone milliseconds, and enters by `advance`.
 *
 * Invariants: L1 a lease is not due before its TTL has passed since its grant, last renewal or promotion on this clock;
 * L2 promotion never shortens what is left below checkpoint or TTL; L3 no TTL is below the minimum; L7, V10 nothing is
 * due on a member that is not primary; a lease is removed only when no key hangs on it.
 */
import { assert } from '../../base/assert.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import { Attachments } from './attachments.js';
import { type HeapItem, LeaseHeap } from './lease-heap.js';
import { decodeLeaseRecord, encodeLeaseRecord, leaseKey } from './lease-record.js';

/** The part of the state store that leases use. */
export interface LeaseStorage {
  put(table: 'lease', key: Uint8Array, value: Uint8Array): void;
  delete(table: 'lease', key: Uint8Array): void;
  list(table: 'lease'): [key: Uint8Array, value: Uint8Array][];
}

export interface LessorOptions {
  readonly storage: LeaseStorage;
  readonly minimumTtlSeconds: number;
  /** Whether checkpoints are stored: etcd does from cluster version 3.6 on. */
  readonly checkpointPersist: boolean;
}

/** What is left of a lease for those who ask the leader. */
export interface TimeToLive {
  /** Whole seconds, rounded down; -1 when it is long past its expiry. */
  readonly remainingSeconds: number;
  readonly grantedSeconds: number;
  /** Its keys, in no order. */
  readonly slots: readonly number[];
}

export interface DueCheckpoint {
  readonly id: bigint;
  readonly remainingTtlSeconds: number;
}

const TTL_SECONDS_MAX = 9_000_000_000n;
const SCAN_INTERVAL_MS = 500;
const REVOCATIONS_PER_SCAN_MAX = 500;
const REVOCATION_RETRY_MS = 3_000;
/** From so many leases on, promotion spreads them so that at most so many are due within a second. */
const SPREAD_LEASES_MIN = 1_000;
const SPREAD_PER_SECOND = 750;
const CHECKPOINT_REMAINING_MS_MIN = 300_000;
const CHECKPOINTS_PER_CALL_MAX = 1_000;
const NEVER = Number.POSITIVE_INFINITY;

class Lease implements HeapItem {
  readonly id: bigint;
  readonly ttlSeconds: number;
  /** Of the last checkpoint; 0 without one. */
  remainingSeconds: number;
  expiryMs = NEVER;
  /** Its expiry, or when its revocation is asked for again. */
  dueMs = NEVER;
  heapAt = -1;
  /** When its checkpoint was last looked at. */
  checkpointMs = 0;
  /** A checkpoint was handed out that may be applied any time, until it is cleared. */
  checkpointAsked = false;

  constructor(id: bigint, ttlSeconds: number, remainingSeconds: number) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.remainingSeconds = remainingSeconds;
  }
}

export class Lessor {
  readonly #options: LessorOptions;
  readonly #leases = new Map<bigint, Lease>();
  readonly #attachments = new Attachments();
  /** Of the primary: every lease. */
  readonly #expiries = new LeaseHeap<Lease>();
  /** Of the primary: the leases that have long enough left for a checkpoint, oldest `checkpointMs` first. */
  readonly #checkpoints = new Set<Lease>();
  #nowMs = 0;
  #primary = false;
  #lastScanMs = Number.NEGATIVE_INFINITY;

  /** Reads the leases that the store holds; their keys come by `attach` when the records are read. */
  constructor(options: LessorOptions) {
    this.#options = options;
    for (const [, value] of options.storage.list('lease')) {
      const { id, ttlSeconds, remainingSeconds } = decodeLeaseRecord(value);
      this.#leases.set(id, new Lease(id, Math.max(ttlSeconds, options.minimumTtlSeconds), remainingSeconds));
    }
  }

  /** The turn's time; what follows happens at it. It never goes back. */
  advance(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
  }

  // Replicated: the same on every member.

  has(id: bigint): boolean {
    return this.#leases.has(id);
  }

  /** Makes a lease, with a longer TTL than was asked for if that is below the minimum. */
  grant(id: bigint, ttlSeconds: bigint): { ttlSeconds: number } | EtcdErrorCode {
    if (id === 0n) return EtcdErrorCode.LeaseNotFound;
    if (ttlSeconds > TTL_SECONDS_MAX) return EtcdErrorCode.LeaseTtlTooLarge;
    if (this.#leases.has(id)) return EtcdErrorCode.LeaseExist;
    const lease = new Lease(id, Math.max(Number(ttlSeconds), this.#options.minimumTtlSeconds), 0);
    this.#leases.set(id, lease);
    this.#persist(lease);
    if (this.#primary) this.#extend(lease, this.#nowMs + lease.ttlSeconds * 1_000);
    return { ttlSeconds: lease.ttlSeconds };
  }

  /** The index slots of a lease's keys, in no order. */
  slotsOf(id: bigint): number[] {
    return this.#attachments.slotsOf(id);
  }

  /** Forgets a lease that exists and whose keys are deleted: the last step of its revocation. */
  remove(id: bigint): void {
    const lease = this.#leases.get(id);
    assert(lease !== undefined && this.slotsOf(id).length === 0, 'a lease is revoked once, after its keys', { id });
    this.#leases.delete(id);
    this.#expiries.delete(lease);
    this.#checkpoints.delete(lease);
    this.#options.storage.delete('lease', leaseKey(id));
  }

  /**
   * Notes what is left of a lease, for the next leader; 0 clears it. An unknown lease is ignored. A primary may have been
   * promoted by a checkpoint that the log clears only now, while the client was told of its whole TTL by a former one.
   */
  checkpoint(id: bigint, remainingTtlSeconds: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.remainingSeconds = remainingTtlSeconds;
    if (this.#options.checkpointPersist) this.#persist(lease);
    if (remainingTtlSeconds > 0) return;
    lease.checkpointAsked = false;
    const expiryMs = this.#nowMs + lease.ttlSeconds * 1_000;
    if (this.#primary && lease.expiryMs > this.#nowMs && lease.expiryMs < expiryMs) this.#extend(lease, expiryMs);
  }

  /**
   * Told of every put (with the lease that its record names, or 0n) and deletion (0n): hangs the key on that lease
   * and takes it off the former one.
   */
  attach(slot: number, id: bigint): void {
    this.#attachments.attach(slot, id);
  }

  // Of the primary: not replicated.

  get isPrimary(): boolean {
    return this.#primary;
  }

  /** This member leads and has applied what came before: every lease begins anew, `extendMs` longer. */
  promote(extendMs: number): void {
    this.#primary = true;
    this.#expiries.clear();
    this.#checkpoints.clear();
    const leases = [...this.#leases.values()];
    for (const lease of leases) {
      const { remainingSeconds, ttlSeconds } = lease;
      lease.expiryMs = this.#nowMs + (remainingSeconds > 0 ? remainingSeconds : ttlSeconds) * 1_000 + extendMs;
    }
    leases.sort(bySoonestExpiry);
    if (leases.length >= SPREAD_LEASES_MIN) spread(leases);
    for (const lease of leases) this.#extend(lease, lease.expiryMs);
  }

  /**
   * This leader was held up, and nobody could renew anything meanwhile: as a promotion, but not for leases whose
   * revocation was handed out. It may be in the log: such a lease must not be renewed again (L6).
   */
  startOver(extendMs: number): void {
    const asked = [...this.#leases.values()].filter(({ dueMs, expiryMs }) => dueMs > expiryMs);
    const former = asked.map(({ dueMs, expiryMs }) => ({ dueMs, expiryMs }));
    this.promote(extendMs);
    asked.forEach((lease, at) => {
      const { dueMs, expiryMs } = former[at]!;
      lease.expiryMs = expiryMs;
      this.#expiries.set(lease, dueMs);
    });
  }

  /** This member does not lead any more: when leases expire is somebody else's business. */
  demote(): void {
    this.#primary = false;
    this.#expiries.clear();
    this.#checkpoints.clear();
    for (const lease of this.#leases.values()) lease.expiryMs = NEVER;
  }

  /**
   * Gives a lease its whole TTL again; only of a primary. With `clearsCheckpoint` the next leader would still count
   * from the checkpoint: its clearing (0) is to be proposed, and the client answered when it is applied. `expired`:
   * wait until the lease is gone, then say so.
   */
  renew(id: bigint): { ttlSeconds: number; clearsCheckpoint: boolean } | 'unknown' | 'expired' {
    assert(this.#primary, 'only a primary renews');
    const lease = this.#leases.get(id);
    if (lease === undefined) return 'unknown';
    if (lease.expiryMs <= this.#nowMs) return 'expired';
    this.#extend(lease, this.#nowMs + lease.ttlSeconds * 1_000);
    const clearsCheckpoint = lease.remainingSeconds > 0 || lease.checkpointAsked;
    return { ttlSeconds: lease.ttlSeconds, clearsCheckpoint };
  }

  /** What is left of a lease; only of a primary. Undefined: no such lease. */
  timeToLive(id: bigint): TimeToLive | undefined {
    assert(this.#primary, 'only a primary knows what is left');
    const lease = this.#leases.get(id);
    if (lease === undefined) return undefined;
    const remaining = Math.trunc((lease.expiryMs - this.#nowMs) / 1_000);
    // etcd rounds towards zero: a lease that has just expired has 0 left, in the second after that -1. No -0.
    const remainingSeconds = Math.max(remaining, -1) + 0;
    return { remainingSeconds, grantedSeconds: lease.ttlSeconds, slots: this.slotsOf(id) };
  }

  /** All leases, soonest expiry first; on a member that does not know it, oldest first. */
  list(): bigint[] {
    return [...this.#leases.values()].sort(bySoonestExpiry).map(({ id }) => id);
  }

  /**
   * Leases whose revocation is to be proposed now, soonest expiry first. Called every turn: between its scans, and while
   * nothing is due, it costs nothing.
   */
  dueRevocations(): bigint[] {
    const nowMs = this.#nowMs;
    const first = this.#expiries.peek();
    if (first === undefined || first.dueMs > nowMs || nowMs - this.#lastScanMs < SCAN_INTERVAL_MS) return [];
    this.#lastScanMs = nowMs;
    const due: bigint[] = [];
    for (let lease: Lease | undefined = first; lease !== undefined && lease.dueMs <= nowMs; ) {
      if (due.length === REVOCATIONS_PER_SCAN_MAX) break;
      due.push(lease.id);
      this.#expiries.set(lease, nowMs + REVOCATION_RETRY_MS);
      lease = this.#expiries.peek();
    }
    return due;
  }

  /**
   * Checkpoints to be proposed now: of leases that had more than five minutes left, `intervalMs` after that was seen.
   * Called every turn; costs nothing while none is due.
   */
  dueCheckpoints(intervalMs: number): DueCheckpoint[] {
    assert(intervalMs > 0, 'checkpoints have an interval');
    const due: DueCheckpoint[] = [];
    for (const lease of this.#checkpoints) {
      if (lease.checkpointMs + intervalMs > this.#nowMs || due.length === CHECKPOINTS_PER_CALL_MAX) break;
      this.#checkpoints.delete(lease);
      const remainingTtlSeconds = Math.ceil((lease.expiryMs - this.#nowMs) / 1_000);
      if (remainingTtlSeconds <= 0) continue;
      if (remainingTtlSeconds < lease.ttlSeconds) {
        lease.checkpointAsked = true;
        due.push({ id: lease.id, remainingTtlSeconds });
      }
      this.#considerCheckpoint(lease);
    }
    return due;
  }

  /** Asserts the invariants, for tests. */
  check(): void {
    this.#attachments.check();
    this.#expiries.check();
    assert(this.#expiries.size === (this.#primary ? this.#leases.size : 0), 'a primary watches every lease');
    for (const lease of this.#leases.values()) {
      assert(this.#primary ? lease.dueMs >= lease.expiryMs : lease.expiryMs === NEVER, 'nothing is due early');
      assert(lease.ttlSeconds >= this.#options.minimumTtlSeconds, 'no TTL is below the minimum');
    }
  }

  #persist(lease: Lease): void {
    this.#options.storage.put('lease', leaseKey(lease.id), encodeLeaseRecord(lease));
  }

  #extend(lease: Lease, expiryMs: number): void {
    lease.expiryMs = expiryMs;
    this.#expiries.set(lease, expiryMs);
    this.#considerCheckpoint(lease);
  }

  /** Looks at the lease again in an interval, if it has long enough left and is not being looked at. */
  #considerCheckpoint(lease: Lease): void {
    if (lease.expiryMs - this.#nowMs <= CHECKPOINT_REMAINING_MS_MIN || this.#checkpoints.has(lease)) return;
    lease.checkpointMs = this.#nowMs;
    this.#checkpoints.add(lease);
  }
}

function bySoonestExpiry(left: Lease, right: Lease): number {
  if (left.expiryMs === right.expiryMs) return 0;
  return left.expiryMs < right.expiryMs ? -1 : 1;
}

/**
 * Puts expiries off, in their order, so that no second sees more than SPREAD_PER_SECOND: a whole cluster's clients whose
 * leader died would else lose all leases that nobody renews at once, and the others wait behind their revocations.
 */
function spread(leases: readonly Lease[]): void {
  for (let at = SPREAD_PER_SECOND; at < leases.length; at += 1) {
    const earliestMs = leases[at - SPREAD_PER_SECOND]!.expiryMs + 1_000;
    if (leases[at]!.expiryMs < earliestMs) leases[at]!.expiryMs = earliestMs;
  }
}
