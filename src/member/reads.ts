/**
 * Linearizable reads: each waits until this member has applied what was committed when the read arrived (I16, I17).
 *
 *     collected --(one round a turn)--> asked --(Raft confirms: index)--> confirmed --(applied >= index)--> served
 *
 * All reads that arrive in one turn share a round. A round whose confirmation does not come is asked again under a new
 * context, never the same one (etcd #20418); a leader change ends the rounds that were asked before it, as in etcd.
 *
 * Invariant (B2): every read that enters leaves once: served, failed or cancelled.
 */
import type { Caller } from '../transport/caller.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import type { Raft } from './raft/raft.js';
import type { MemberId } from './raft/types.js';

/** A read of the host, or of a peer (`from`); `payload` is the request's own copy. */
export interface Read {
  readonly requestId: number;
  readonly method: number;
  readonly payload: Uint8Array;
  /** The client behind it; none for a peer's. */
  readonly caller?: Caller | undefined;
  /** Reads of one source take turns with those of others (fair-reads.ts). */
  readonly source?: number;
  /** The member that asks; its calls have ids of their own. */
  readonly from?: MemberId;
}

interface Round {
  readonly reads: Read[];
  readonly startedMs: number;
  askedMs: number;
}

interface Confirmed {
  readonly index: number;
  readonly reads: readonly Read[];
}

/** An unanswered round is asked again after this long (etcd: readIndexRetryTime). */
const retryMs = 500;

export class Reads {
  #collected: Read[] = [];
  readonly #asked = new Map<number, Round>();
  /** Rounds Raft did not take (no leader): they wait for one and are asked then. */
  #refused: Round[] = [];
  #confirmed: Confirmed[] = [];
  #nextContext: number;
  /** Rounds that were not confirmed in time. */
  slowRounds = 0;
  /** Rounds that a change of the leader ended. */
  failedRounds = 0;

  /**
   * `incarnation`: of this member's thread. Contexts of successive incarnations differ, because an answer to a question
   * of the former one may still arrive: it names an older index.
   */
  constructor(incarnation: number) {
    this.#nextContext = incarnation * 2 ** 32 + 1;
  }

  get size(): number {
    let size = this.#collected.length;
    for (const round of this.#asked.values()) size += round.reads.length;
    for (const round of this.#refused) size += round.reads.length;
    for (const round of this.#confirmed) size += round.reads.length;
    return size;
  }

  add(read: Read): void {
    this.#collected.push(read);
  }

  /** Starts the round of this turn and asks again what was refused or went unanswered. */
  ask(raft: Raft, nowMs: number): void {
    if (this.#refused.length > 0) {
      const again = this.#refused;
      this.#refused = [];
      for (const round of again) this.#askRound(raft, round, nowMs);
    }
    for (const [context, round] of this.#asked) {
      if (nowMs - round.askedMs < retryMs) continue;
      this.#asked.delete(context);
      this.#askRound(raft, round, nowMs);
    }
    if (this.#collected.length === 0) return;
    const round = { reads: this.#collected, startedMs: nowMs, askedMs: nowMs };
    this.#collected = [];
    this.#askRound(raft, round, nowMs);
  }

  #askRound(raft: Raft, round: Round, nowMs: number): void {
    const context = this.#nextContext++;
    round.askedMs = nowMs;
    if (raft.readIndex(context) === 'dropped') this.#refused.push(round);
    else this.#asked.set(context, round);
  }

  /** Raft confirmed the round `context`: its reads are current once `index` is applied. */
  confirm(context: number, index: number): void {
    const round = this.#asked.get(context);
    if (round === undefined) return;
    this.#asked.delete(context);
    this.#confirmed.push({ index, reads: round.reads });
  }

  /** Hands out every read whose index is applied. */
  serve(appliedIndex: number, visit: (read: Read) => void): void {
    if (this.#confirmed.length === 0) return;
    const later: Confirmed[] = [];
    for (const round of this.#confirmed) {
      if (round.index <= appliedIndex) round.reads.forEach(visit);
      else later.push(round);
    }
    this.#confirmed = later;
  }

  /** A new leader is known: rounds asked of the former one will not be confirmed. */
  leaderChanged(visit: (read: Read) => void): void {
    const rounds = [...this.#asked.values()];
    this.failedRounds += rounds.length;
    this.#asked.clear();
    for (const round of rounds) round.reads.forEach(visit);
  }

  /** Ends rounds that were not confirmed within `timeoutMs`. */
  expire(nowMs: number, timeoutMs: number, visit: (read: Read, error: EtcdErrorCode) => void): void {
    const fail = (round: Round): void => {
      this.slowRounds += 1;
      for (const read of round.reads) visit(read, ErrorCode.Timeout);
    };
    for (const [context, round] of this.#asked) {
      if (nowMs - round.startedMs < timeoutMs) continue;
      this.#asked.delete(context);
      fail(round);
    }
    if (this.#refused.length === 0) return;
    const expired = this.#refused.filter(round => nowMs - round.startedMs >= timeoutMs);
    this.#refused = this.#refused.filter(round => nowMs - round.startedMs < timeoutMs);
    expired.forEach(fail);
  }

  /** The client went away. */
  cancel(requestId: number): void {
    const keep = (read: Read): boolean => read.requestId !== requestId || read.from !== undefined;
    this.#collected = this.#collected.filter(keep);
    for (const round of [...this.#asked.values(), ...this.#refused]) {
      const at = round.reads.findIndex(read => !keep(read));
      if (at !== -1) round.reads.splice(at, 1);
    }
    this.#confirmed = this.#confirmed.map(round => ({ index: round.index, reads: round.reads.filter(keep) }));
  }

  /** Ends everything: the member stops. */
  failAll(visit: (read: Read) => void): void {
    const rounds = [...this.#asked.values(), ...this.#refused, ...this.#confirmed];
    const reads = [...this.#collected, ...rounds.flatMap(round => round.reads)];
    this.#asked.clear();
    this.#collected = [];
    this.#refused = [];
    this.#confirmed = [];
    reads.forEach(visit);
  }
}
