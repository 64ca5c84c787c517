/**
 * The leader's part in leases: it alone lets them expire, and replicates what time long ones have left.
 *
 *     leader ─> lessor.promote: every lease starts its time over, plus an election timeout; again after the thread was
 *               held up (a stopped process: its clients could not renew anything meanwhile)
 *            ─> each turn: what is due is proposed as LeaseRevoke; applied, it deletes the keys in one revision
 *
 * Invariant (L7, V10; etcd #15247): these proposals are made in the turn in which they are found due, by a member that
 * leads in that turn, and are never queued or forwarded. A leader that was deposed without knowing it can only put them
 * into its own log, where they die with its term.
 */
import { Scalar } from '../transport/metric-cells.js';
import { encodeInternalRequest, InternalField } from '../wire/internal.js';
import { encode } from '../wire/schema.js';
import { ROOT } from './auth/auth-store.js';
import type { OpenMember } from './open.js';
import type { Proposals } from './proposals.js';
import { type Entry, EntryType } from './raft/types.js';

export class LeaseExpiry {
  readonly #open: OpenMember;
  readonly #proposals: Proposals;
  readonly #idMember: number;
  readonly #extendMs: number;
  readonly #checkpointIntervalMs: number;
  #turnMs = Number.POSITIVE_INFINITY;

  constructor(open: OpenMember, proposals: Proposals, idMember: number) {
    this.#open = open;
    this.#proposals = proposals;
    this.#idMember = idMember;
    this.#extendMs = open.boot.settings.electionTimeoutMs;
    this.#checkpointIntervalMs = open.boot.settings.leaseCheckpointIntervalMs;
  }

  /** Raft's role may have changed. */
  leads(leading: boolean): void {
    const { lessor } = this.#open.state.applier;
    if (leading && !lessor.isPrimary) lessor.promote(this.#extendMs);
    else if (!leading && lessor.isPrimary) lessor.demote();
  }

  /** Proposes what is due now. */
  turn(nowMs: number): void {
    const { raft, state } = this.#open;
    const { lessor } = state.applier;
    const heldUp = nowMs - this.#turnMs > this.#extendMs;
    this.#turnMs = nowMs;
    if (!raft.isLeader || !lessor.isPrimary) return;
    if (heldUp) lessor.startOver(this.#extendMs);
    const revocations = lessor.dueRevocations();
    if (revocations.length > 0) {
      this.#open.cells.add(Scalar.leasesExpired, revocations.length);
      this.#propose(
        revocations.map(ID =>
          this.#entry(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID })),
        ),
      );
    }
    if (this.#checkpointIntervalMs === 0) return;
    const checkpoints = lessor.dueCheckpoints(this.#checkpointIntervalMs);
    if (checkpoints.length > 0) this.#proposeCheckpoints(checkpoints);
  }

  /** A lease was renewed that has a checkpoint: it counts no more. */
  clearCheckpoint(id: bigint): void {
    this.#proposeCheckpoints([{ id, remainingTtlSeconds: 0 }]);
  }

  #proposeCheckpoints(due: readonly { readonly id: bigint; readonly remainingTtlSeconds: number }[]): void {
    const checkpoints = due.map(({ id, remainingTtlSeconds }) => ({ ID: id, remaining_TTL: remainingTtlSeconds }));
    const request = encode('etcdserverpb.LeaseCheckpointRequest', { checkpoints });
    this.#propose([this.#entry(InternalField.LeaseCheckpoint, request)]);
  }

  #entry(field: InternalField, request: Uint8Array): Pick<Entry, 'type' | 'data'> {
    const { enabled, revision } = this.#open.state.applier.auth;
    // Whatever hangs on the lease goes with it: the leader does that as root, as in etcd.
    const identity = enabled ? { username: ROOT, authRevision: revision } : undefined;
    const data = encodeInternalRequest(field, request, this.#idMember, this.#proposals.nextCounter(), identity);
    return { type: EntryType.Normal, data };
  }

  #propose(entries: Pick<Entry, 'type' | 'data'>[]): void {
    if (this.#open.raft.isLeader) this.#open.raft.propose(entries);
  }
}
