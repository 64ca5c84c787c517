/**
 * The numbers of one member's metrics, in shared memory: its thread counts, the host reads when somebody scrapes.
 *
 *     member's turn ─ plain stores ─> | scalars | histograms | applies by kind | peers, a block each | ─ loads ─> scrape
 *
 * A histogram is one cell for each bucket (its own count, not the sum of those below), one for what is above the last
 * bound, and one for the sum of the observed values. Nothing is locked: a scrape waits for no member and holds up none.
 * It may see a histogram between its bucket and its sum; the next one sees both.
 *
 * A member that starts anew gets new cells: its counters begin at 0, as those of a restarted etcd.
 *
 * Invariant: one thread writes a cell. All are the member's but `Scalar.hostPublishedMs`, which is the host's.
 */
import { assert } from '../base/assert.js';
import { InternalField } from '../wire/internal.js';
import { Cells } from './cells.js';

/** Counters and gauges, in this order in memory. */
const scalarNames = [
  'hasLeader',
  'isLeader',
  'isLearner',
  'leaderChanges',
  'heartbeatSendFailures',
  'proposalsCommitted',
  'proposalsApplied',
  'proposalsPending',
  'proposalsFailed',
  'slowApplies',
  'slowReadIndexes',
  'readIndexesFailed',
  'snapshotApplyInProgress',
  'walWriteBytes',
  'defragmentationsInflight',
  'dbSizeBytes',
  'dbSizeInUseBytes',
  'dbOpenReads',
  'puts',
  'putBytes',
  'deletes',
  'txns',
  'ranges',
  'keys',
  'currentRevision',
  'compactRevision',
  'compactedRecords',
  'lastCompactionSeconds',
  'watchStreams',
  'watchers',
  'slowWatchers',
  'watchEvents',
  'pendingEvents',
  'leasesGranted',
  'leasesRevoked',
  'leasesRenewed',
  'leasesExpired',
  'authRevision',
  'raftTerm',
  'logEntries',
  'hostBacklogBytes',
  'heldReads',
  'hostPublishedMs',
] as const;

/** Bounds start, start * factor, ... as etcd's: each is the one before times the factor. */
function exponential(start: number, factor: number, count: number): number[] {
  const bounds: number[] = [];
  for (let bound = start; bounds.length < count; bound *= factor) bounds.push(bound);
  return bounds;
}

const diskSeconds = exponential(0.001, 2, 14);
const transferSeconds = exponential(0.1, 2, 10);
const hashSeconds = exponential(0.01, 2, 15);
const fineSeconds = exponential(1e-5, 2, 20);
const turnEntries = exponential(1, 2, 13);
/** Of etcd_server_apply_duration_seconds. */
export const applySeconds = exponential(0.0001, 2, 20);

/** Histograms and their bounds; seconds where the name does not say otherwise. */
const histogramBounds = {
  walFsync: diskSeconds,
  walFsyncFine: exponential(1e-5, Math.SQRT2, 32),
  walWrite: diskSeconds,
  backendCommit: diskSeconds,
  backendCommitRebalance: diskSeconds,
  backendCommitSpill: diskSeconds,
  backendCommitWrite: diskSeconds,
  backendDefragmentation: exponential(0.1, 2, 13),
  backendSnapshot: exponential(0.01, 2, 17),
  dbSnapshotFsync: diskSeconds,
  dbSnapshotSave: transferSeconds,
  hash: hashSeconds,
  hashRevision: hashSeconds,
  rangeOk: applySeconds,
  rangeFailed: applySeconds,
  leaseTtl: exponential(1, 2, 24),
  compactionPauseMs: exponential(1, 2, 13),
  compactionTotalMs: exponential(100, 2, 14),
  indexCompactionPauseMs: exponential(0.5, 2, 14),
  turn: fineSeconds,
  turnEntries,
  doorbell: exponential(1e-5, 2, 16),
  loopLag: exponential(1e-4, 2, 17),
  writeQueue: fineSeconds,
  writePropose: fineSeconds,
  writePersist: fineSeconds,
  writeCommit: fineSeconds,
  writeApply: fineSeconds,
  writeReply: fineSeconds,
} as const;

const peerScalarNames = [
  /** The member's id as two halves; both 0: the block is free. */
  'idHigh',
  'idLow',
  'active',
  'disconnections',
  'sentBytes',
  'receivedBytes',
  'sendFailures',
  'backlogBytes',
  'snapshotsSent',
  'snapshotSendFailures',
  'snapshotSendsInflight',
  'snapshotsReceived',
  'snapshotReceiveFailures',
  'snapshotReceivesInflight',
] as const;

const peerHistogramBounds = {
  roundTrip: exponential(0.0001, 2, 16),
  roundTripFine: exponential(1e-5, 2, 16),
  snapshotSend: transferSeconds,
  snapshotReceive: transferSeconds,
} as const;

/** Where a histogram's cells begin, and its upper bounds. */
export interface HistogramPlace {
  readonly at: number;
  readonly bounds: readonly number[];
}

/** A histogram as it was read. `counts` has one more than `bounds`. */
export interface HistogramValue {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}

/** The requests whose applies are timed, by their number in a log entry. */
export const appliedRequests: readonly (readonly [name: string, field: number])[] = Object.entries(InternalField);

const ratings = ['false', 'true'] as const;

let end = 0;

function placeScalars<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  const first = end;
  end += names.length;
  return Object.fromEntries(names.map((name, at) => [name, first + at])) as Record<Name, number>;
}

function placeHistogram(bounds: readonly number[]): HistogramPlace {
  const at = end;
  end += bounds.length + 2;
  return { at, bounds };
}

function placeHistograms<Name extends string>(
  bounds: Readonly<Record<Name, readonly number[]>>,
): Readonly<Record<Name, HistogramPlace>> {
  const places = Object.entries<readonly number[]>(bounds).map(([name, each]) => [name, placeHistogram(each)]);
  return Object.fromEntries(places) as Record<Name, HistogramPlace>;
}

/** Cells of counters and gauges. */
export const Scalar = placeScalars(scalarNames);
/** Cells of histograms. */
export const Histogram = placeHistograms(histogramBounds);

/** Applies of one kind of request: that failed, that succeeded. */
const applies = new Map<number, readonly [failed: HistogramPlace, succeeded: HistogramPlace]>();
for (const [, field] of appliedRequests) {
  applies.set(field, [placeHistogram(applySeconds), placeHistogram(applySeconds)]);
}

const peersAt = end;
/** Cells of a peer's counters and gauges, from the beginning of its block. */
end = 0;
export const PeerScalar = placeScalars(peerScalarNames);
export const PeerHistogram = placeHistograms(peerHistogramBounds);
const peerCells = end;

/** Peers that have cells at a time; what is counted of more is lost. */
export const peersMax = 16;
const cellsTotal = peersAt + peersMax * peerCells;

/** What was counted of applies of one kind. */
export interface ApplyValue {
  readonly op: string;
  readonly success: (typeof ratings)[number];
  readonly value: HistogramValue;
}

export class MetricCells extends Cells {
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(cellsTotal * 8)) {
    super(buffer);
  }

  add(cell: number, amount = 1): void {
    this.cells[cell] = (this.cells[cell] as number) + amount;
  }

  /** Counts a value in a histogram of this member, or of a peer's block that begins at `from`. */
  observe({ at, bounds }: HistogramPlace, value: number, from = 0): void {
    const cells = this.cells;
    const last = bounds.length;
    let bucket = 0;
    while (bucket < last && value > (bounds[bucket] as number)) bucket += 1;
    cells[from + at + bucket] = (cells[from + at + bucket] as number) + 1;
    cells[from + at + last + 1] = (cells[from + at + last + 1] as number) + value;
  }

  /** Counts the apply of a request of this kind (InternalField). */
  applied(field: number, succeeded: boolean, seconds: number): void {
    const places = applies.get(field);
    if (places !== undefined) this.observe(places[succeeded ? 1 : 0], seconds);
  }

  read({ at, bounds }: HistogramPlace, from = 0): HistogramValue {
    const first = from + at;
    const counts = Array.from(this.cells.subarray(first, first + bounds.length + 1));
    return { bounds, counts, sum: this.get(first + bounds.length + 1) };
  }

  /** Applies by kind and outcome, those that there were. */
  readApplies(): ApplyValue[] {
    const found: ApplyValue[] = [];
    for (const [op, field] of appliedRequests) {
      ratings.forEach((success, at) => {
        const value = this.read(applies.get(field)?.[at] as HistogramPlace);
        if (value.counts.some(count => count > 0)) found.push({ op, success, value });
      });
    }
    return found;
  }

  /** The block of a peer, taken for it if it has none; undefined when all are taken. */
  takePeer(id: bigint): number | undefined {
    assert(id !== 0n, 'a peer has an id');
    const taken = this.#findPeer(id);
    if (taken !== undefined) return taken;
    const from = this.#findPeer(0n);
    if (from === undefined) return undefined;
    this.freePeer(from);
    this.set(from + PeerScalar.idHigh, Number(id >> 32n));
    this.set(from + PeerScalar.idLow, Number(id & 0xffff_ffffn));
    return from;
  }

  /** The peer is gone for good: its block is another's. */
  freePeer(from: number): void {
    this.cells.fill(0, from, from + peerCells);
  }

  /** The blocks that are taken, with whose they are. */
  peers(): { readonly id: bigint; readonly from: number }[] {
    const found: { id: bigint; from: number }[] = [];
    for (let peer = 0; peer < peersMax; peer += 1) {
      const from = peersAt + peer * peerCells;
      const id = this.#idAt(from);
      if (id !== 0n) found.push({ id, from });
    }
    return found;
  }

  #findPeer(id: bigint): number | undefined {
    for (let peer = 0; peer < peersMax; peer += 1) {
      const from = peersAt + peer * peerCells;
      if (this.#idAt(from) === id) return from;
    }
    return undefined;
  }

  #idAt(from: number): bigint {
    return (BigInt(this.get(from + PeerScalar.idHigh)) << 32n) | BigInt(this.get(from + PeerScalar.idLow));
  }
}
