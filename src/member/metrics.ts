/**
 * What a member tells of itself: the hooks of its turn that count and take times, and the gauges it publishes.
 *
 *     every turn       what is one store each: leader, indexes, revision, pending proposals
 *     every tick       what takes a look: sizes of the store and the log, watchers, leases
 *     as it happens    durations and counters, straight into the cells (transport/metric-cells.ts)
 *
 * A clock is read a few times in a turn and once for each applied request, never for a request that is only read or
 * forwarded.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { sharedClockOffsetMs } from '../transport/clock.js';
import { Histogram, type MetricCells, Scalar } from '../transport/metric-cells.js';
import type { HostLink } from './host-link.js';
import type { KeyReads } from './key-reads.js';
import type { OpenMember } from './open.js';
import type { PeerLinks } from './peer-links.js';
import type { Proposals } from './proposals.js';
import { type Entry, NO_MEMBER } from './raft/types.js';
import type { Reads } from './reads.js';
import type { WatchHub } from './watch/watch-hub.js';
import { WriteProbe } from './write-probe.js';

/** Applies that take longer are slow (etcd's --warning-apply-duration). */
const slowApplyMs = 100;

/** What the gauges are read from. */
export interface MetricSources {
  readonly open: OpenMember;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly keyReads: KeyReads;
  readonly watches: WatchHub;
  readonly peers: PeerLinks;
  readonly host: HostLink;
  readonly isLearner: () => boolean;
}

export class MemberMetrics {
  readonly probe: WriteProbe;
  readonly #cells: MetricCells;
  readonly #tickMs: number;
  #tickedMs = Number.NaN;
  /** The end of the last apply, or the beginning of the batch. */
  #appliedMs = 0;

  constructor(cells: MetricCells, tickMs: number) {
    this.#cells = cells;
    this.#tickMs = tickMs;
    this.probe = new WriteProbe(cells, sharedClockOffsetMs);
  }

  /** A turn is over. */
  turned(startedMs: number, endedMs: number): void {
    this.#cells.observe(Histogram.turn, (endedMs - startedMs) / 1_000);
  }

  /** The thread was woken by its doorbell so long after it was rung. */
  woke(latencyMs: number): void {
    this.#cells.observe(Histogram.doorbell, latencyMs / 1_000);
  }

  /** Entries are about to be written to the log. */
  writing(entries: readonly Entry[]): void {
    this.#cells.observe(Histogram.turnEntries, entries.length);
    this.probe.writing(entries, performance.now());
  }

  /** They are durable. */
  written(): void {
    this.probe.written(performance.now());
  }

  /** A batch of committed entries is about to be applied. */
  applying(): void {
    this.#appliedMs = performance.now();
  }

  /** One request of the batch was; `counter` is its id if it is this member's, else -1. */
  applied(field: number, succeeded: boolean, counter: number): void {
    const fromMs = this.#appliedMs;
    this.#appliedMs = performance.now();
    const tookMs = this.#appliedMs - fromMs;
    this.#cells.applied(field, succeeded, tookMs / 1_000);
    if (tookMs > slowApplyMs) this.#cells.add(Scalar.slowApplies);
    if (counter >= 0) this.probe.applied(counter, fromMs, this.#appliedMs);
  }

  leaderChanged(): void {
    this.#cells.add(Scalar.leaderChanges);
  }

  /** The turn's answers are in the ring to the host. */
  published(): void {
    if (this.probe.answered) this.probe.published(performance.now());
  }

  /** At the end of every turn. */
  publish({ open, proposals }: MetricSources): void {
    const cells = this.#cells;
    const { raft, state } = open;
    cells.set(Scalar.hasLeader, raft.leader === NO_MEMBER ? 0 : 1);
    cells.set(Scalar.isLeader, raft.isLeader ? 1 : 0);
    cells.set(Scalar.raftTerm, raft.term);
    cells.set(Scalar.proposalsCommitted, raft.committedIndex);
    cells.set(Scalar.proposalsApplied, state.store.appliedIndex);
    cells.set(Scalar.proposalsPending, proposals.size);
    cells.set(Scalar.proposalsFailed, proposals.failed);
    cells.set(Scalar.currentRevision, state.applier.currentRevision);
  }

  /** A tick has come, at `nowMs`. */
  ticked(nowMs: number, sources: MetricSources): void {
    const { raft } = sources.open;
    // NaN at the first tick: nothing is late yet.
    const lateMs = nowMs - this.#tickedMs - this.#tickMs;
    this.#tickedMs = nowMs;
    if (lateMs >= 0) this.#cells.observe(Histogram.loopLag, lateMs / 1_000);
    if (raft.isLeader && lateMs > this.#tickMs) this.#cells.add(Scalar.heartbeatSendFailures);
    this.#publishSlow(sources);
  }

  #publishSlow({ open, reads, keyReads, watches, peers, host, isLearner }: MetricSources): void {
    const cells = this.#cells;
    const { store, applier } = open.state;
    const { mvcc } = applier;
    cells.set(Scalar.isLearner, isLearner() ? 1 : 0);
    cells.set(Scalar.dbSizeBytes, store.sizeBytes());
    cells.set(Scalar.dbSizeInUseBytes, store.sizeInUseBytes());
    cells.set(Scalar.dbOpenReads, store.heldViews);
    // Two walks down the tree, whatever its size.
    cells.set(Scalar.keys, mvcc.index.count(EMPTY_BYTES, null, mvcc.currentRevision));
    cells.set(Scalar.authRevision, applier.auth.revision);
    cells.set(Scalar.compactRevision, mvcc.compactRevision);
    cells.set(Scalar.logEntries, open.log.lastIndex() - open.log.firstIndex() + 1);
    cells.set(Scalar.slowReadIndexes, reads.slowRounds);
    cells.set(Scalar.readIndexesFailed, reads.failedRounds);
    cells.set(Scalar.heldReads, keyReads.held);
    const { streams, watchers, behind, eventsSent } = watches.counts;
    cells.set(Scalar.watchStreams, streams);
    cells.set(Scalar.watchers, watchers);
    cells.set(Scalar.slowWatchers, behind);
    cells.set(Scalar.watchEvents, eventsSent);
    cells.set(Scalar.hostBacklogBytes, host.backlogBytes);
    peers.publish(cells);
  }
}
