/**
 * The reads that wait for proof that this leader still leads (thesis §6.4).
 *
 *     read arrives -> (position p, commit index then) -> heartbeats carry p -> a quorum echoes >= p -> answered
 *
 * Positions are made here, one per read, ascending, never reused: a caller that retries gets a new one, so an old echo
 * can confirm nothing that was asked after it was sent (etcd #20418). Echoes are cumulative: whoever echoed p has seen
 * this leader after every read with position <= p was registered. On any change of term or role the queue is emptied.
 */
import { assert } from '../../base/assert.js';
import type { MemberId } from './types.js';

export interface PendingRead {
  readonly position: number;
  /** Who asked, and with which context: the answer goes there. */
  readonly from: MemberId;
  readonly context: number;
  /** The commit index when the read arrived: what the reader must have applied (I16). */
  readonly index: number;
}

export class ReadIndexQueue {
  #pending: PendingRead[] = [];
  #lastPosition = 0;

  /** The newest position that waits, for heartbeats to carry; 0 when nothing waits. */
  newestPosition(): number {
    return this.#pending.length === 0 ? 0 : this.#lastPosition;
  }

  /** The newest position ever made. */
  get lastPosition(): number {
    return this.#lastPosition;
  }

  get count(): number {
    return this.#pending.length;
  }

  add(from: MemberId, context: number, index: number): void {
    const newest = this.#pending[this.#pending.length - 1];
    assert(newest === undefined || newest.index <= index, 'I16: later reads do not see less', { index });
    this.#lastPosition++;
    this.#pending.push({ position: this.#lastPosition, from, context, index });
  }

  /** A quorum has echoed `position`: takes out every read it confirms, in order of arrival. */
  confirm(position: number): readonly PendingRead[] {
    let count = 0;
    while (count < this.#pending.length && this.#pending[count]!.position <= position) count++;
    if (count === 0) return [];
    const confirmed = this.#pending.slice(0, count);
    this.#pending = this.#pending.slice(count);
    return confirmed;
  }

  /** Forgets the waiting reads, never the positions. */
  clear(): void {
    this.#pending = [];
  }
}
