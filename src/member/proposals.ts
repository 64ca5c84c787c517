/**
 * Proposals of this member's clients, from the request to the applied entry.
 *
 * A proposal is `unsent` until Raft takes it (no leader is known or its ring is full, a transfer runs, too much is
 * uncommitted) and `sent` afterwards. An unsent one is offered again every turn; a sent one never is: it may be in the
 * log already, and a second copy would be a second write. Both wait at most the request timeout.
 *
 * Request ids follow etcd: the member id's low 16 bits above a 48-bit counter that starts at the boot
 * time. The counter alone is the key here, a safe integer.
 *
 * Invariant (B2): every proposal that enters leaves once, by `applied`, `expire`, `cancel` or `failAll`.
 */
import { assert } from '../base/assert.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import type { Raft } from './raft/raft.js';
import { EntryType, entryBytes, type Proposal as RaftProposal } from './raft/types.js';
import { proposedPerTurn } from './turn-limits.js';
import type { WriteProbe } from './write-probe.js';

/** Who waits for a proposal: a ring request of the host, or nobody (0) for the member's own proposals. */
export interface Proposal {
  readonly requestId: number;
  readonly method: number;
  readonly startedMs: number;
  /** Of a login: the auth revision at which its password was compared. */
  readonly authRevision?: number | undefined;
}

interface Unsent {
  readonly counter: number;
  readonly data: Uint8Array;
}

const counterModulus = 2 ** 48;

export class Proposals {
  readonly #waiting = new Map<number, Proposal>();
  #unsent: Unsent[] = [];
  #counter: number;
  /** Those that expired or whose client went away. */
  failed = 0;
  /** Follows some of them. */
  readonly #probe: Pick<WriteProbe, 'begin'> | undefined;

  /** `startTimeMs`: Unix milliseconds of this start; makes ids of successive starts distinct. */
  constructor(startTimeMs: number, probe?: Pick<WriteProbe, 'begin'>) {
    this.#probe = probe;
    this.#counter = (startTimeMs % 2 ** 40) * 256;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** The next request id's counter (low 48 bits). */
  nextCounter(): number {
    this.#counter = (this.#counter + 1) % counterModulus;
    return this.#counter;
  }

  /** Queues an encoded InternalRaftRequest whose header carries `counter`. */
  add(counter: number, data: Uint8Array, proposal: Proposal): void {
    assert(!this.#waiting.has(counter), 'request ids are unique', { counter });
    this.#waiting.set(counter, proposal);
    this.#unsent.push({ counter, data });
    if (proposal.requestId >= 0) this.#probe?.begin(counter, data, proposal.startedMs);
  }

  /**
   * Offers to Raft what is unsent, oldest first, as much as a turn may propose; what it does not take stays. True: it
   * took all it was offered, and there is more.
   */
  offer(raft: Raft): boolean {
    const entries: RaftProposal[] = [];
    for (let bytes = 0; entries.length < this.#unsent.length && bytes < proposedPerTurn; ) {
      const entry = { type: EntryType.Normal, data: this.#unsent[entries.length]!.data };
      entries.push(entry);
      bytes += entryBytes(entry);
    }
    if (entries.length === 0 || raft.propose(entries) === 'dropped') return false;
    this.#unsent = entries.length === this.#unsent.length ? [] : this.#unsent.slice(entries.length);
    return this.#unsent.length > 0;
  }

  /** The proposal of an applied entry of this member; undefined when nobody waits any more. */
  applied(counter: number): Proposal | undefined {
    const proposal = this.#waiting.get(counter);
    if (proposal !== undefined) this.#waiting.delete(counter);
    return proposal;
  }

  /** The client went away: the entry may still commit, but nobody is told. An unsent one is withdrawn. */
  cancel(requestId: number): void {
    // A scan: cancels are rare, and a second map would be paid for by every write.
    for (const [counter, proposal] of this.#waiting) {
      if (proposal.requestId !== requestId) continue;
      this.#waiting.delete(counter);
      this.failed += 1;
      this.#unsent = this.#unsent.filter(unsent => unsent.counter !== counter);
      return;
    }
  }

  /**
   * Ends what has waited for `timeoutMs`: an unsent proposal met its context's deadline, a sent one timed out in Raft.
   * `leaderElectedMs` and `electionTimeoutMs` decide whether the previous leader's failure is to blame.
   */
  expire(
    nowMs: number,
    timeoutMs: number,
    leader: { electedMs: number; electionTimeoutMs: number },
    visit: (proposal: Proposal, error: EtcdErrorCode) => void,
  ): void {
    for (const [counter, proposal] of this.#waiting) {
      // Insertion order is age order: the first that is young enough ends the scan.
      if (nowMs - proposal.startedMs < timeoutMs) break;
      this.#waiting.delete(counter);
      this.failed += 1;
      const unsentAt = this.#unsent.findIndex(unsent => unsent.counter === counter);
      if (unsentAt !== -1) {
        this.#unsent.splice(unsentAt, 1);
        visit(proposal, ErrorCode.ContextDeadlineExceeded);
        continue;
      }
      const lostFromMs = leader.electedMs - 2 * leader.electionTimeoutMs;
      const dueToLeader = proposal.startedMs > lostFromMs && proposal.startedMs < leader.electedMs;
      visit(proposal, dueToLeader ? ErrorCode.TimeoutDueToLeaderFail : ErrorCode.Timeout);
    }
  }

  /** Ends everything: the member stops. */
  failAll(visit: (proposal: Proposal) => void): void {
    const proposals = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#unsent = [];
    proposals.forEach(visit);
  }
}
