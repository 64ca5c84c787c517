/**
 * What the leader knows of one member's log, and what it may send to it.
 *
 *     match < next                 entries <= match are durable there; next is the first one it has not been sent
 *
 *               ack of a probe
 *     Probe ---------------------> Replicate      Probe:     one MsgApp at a time, until a position is agreed on
 *       ^  <--------------------- (pipelined)     Replicate: optimistic, bounded by inflights
 *       |   reject, unreachable        |          Snapshot:  nothing is sent until the snapshot is installed or fails
 *       |                              |
 *       +------- Snapshot <------------+  the follower needs entries that are compacted
 *
 * The leader keeps one of these for itself too: there `match` is its own persisted log, moved by advance() only (I6).
 */
import { assert } from '../../base/assert.js';
import type { Inflights } from './inflights.js';
import type { MemberId } from './types.js';

export const ProgressState = { Probe: 0, Replicate: 1, Snapshot: 2 } as const;
export type ProgressState = (typeof ProgressState)[keyof typeof ProgressState];

export class Progress {
  readonly id: MemberId;
  isLearner: boolean;
  match = 0;
  next: number;
  state: ProgressState = ProgressState.Probe;
  /** Index of the snapshot on its way; 0 outside Snapshot. */
  pendingSnapshot = 0;
  /** Highest commit index this member was told of, for all we know. */
  sentCommit = 0;
  /** Probe: a MsgApp is out. Replicate: inflights are full. An ack or a heartbeat's answer lets the next one out. */
  paused = false;
  /** A MsgApp is due although it may carry no entries: its answer is what we want. */
  appendDue = false;
  /** It has answered since the last CheckQuorum. */
  recentActive = false;
  /** The highest read position its heartbeat answers carried. */
  readPosition = 0;
  readonly inflights: Inflights;

  constructor(id: MemberId, isLearner: boolean, next: number, inflights: Inflights) {
    this.id = id;
    this.isLearner = isLearner;
    this.next = next;
    this.inflights = inflights;
  }

  /** A new term or a new leadership begins: nothing is known but where our log ends. */
  reset(match: number, next: number): void {
    this.match = match;
    this.next = next;
    this.recentActive = false;
    this.readPosition = 0;
    this.sentCommit = 0;
    this.#enter(ProgressState.Probe);
  }

  /** Next comes one MsgApp whose fate we wait for. After a snapshot that went well, it starts behind that snapshot. */
  becomeProbe(): void {
    const pendingSnapshot = this.pendingSnapshot;
    this.next = Math.max(this.match, pendingSnapshot) + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    this.#enter(ProgressState.Probe);
  }

  becomeReplicate(): void {
    this.next = this.match + 1;
    this.#enter(ProgressState.Replicate);
  }

  becomeSnapshot(index: number): void {
    this.next = Math.max(this.match, index) + 1;
    this.sentCommit = Math.max(this.match, index);
    this.#enter(ProgressState.Snapshot);
    this.pendingSnapshot = index;
  }

  /** The snapshot did not arrive: probe again from what is known. */
  abortSnapshot(): void {
    this.pendingSnapshot = 0;
    this.becomeProbe();
    this.paused = true;
  }

  isPaused(): boolean {
    return this.state === ProgressState.Snapshot || this.paused;
  }

  /** Whether telling it `commit` says something it can use and has not been told. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** A MsgApp with `count` entries ending before next + count, weighing `bytes`, was sent. */
  sentEntries(count: number, bytes: number): void {
    assert(this.state !== ProgressState.Snapshot, 'I18: no entries are sent during a snapshot', { id: this.id });
    if (this.state === ProgressState.Replicate) {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      this.paused = this.inflights.full;
    } else if (count > 0) {
      this.paused = true;
    }
  }

  sentCommitUpTo(commit: number): void {
    if (commit > this.sentCommit) this.sentCommit = commit;
  }

  /** It acked everything up to `index`. False when that is old news. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    if (this.next <= index) this.next = index + 1;
    return true;
  }

  /**
   * It refused a MsgApp whose previous index was `rejected` and suggests `hint` as the last index we might share.
   * Moves next back and returns true, or returns false when the refusal is a late one of a MsgApp that no longer
   * matters.
   */
  maybeDecrease(rejected: number, hint: number): boolean {
    if (this.state === ProgressState.Replicate) {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.sentCommit = Math.min(this.sentCommit, this.next - 1);
      return true;
    }
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    this.paused = false;
    return true;
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.paused = false;
    this.pendingSnapshot = 0;
    this.appendDue = false;
    this.inflights.reset();
    assert(this.match < this.next, 'I18: match < next', { id: this.id, match: this.match, next: this.next });
  }
}
