/**
 * How long compactions take: all of it, and each slice of it, during which the member does nothing else.
 */
import { Histogram, type MetricCells, Scalar } from '../transport/metric-cells.js';
import type { Applier } from './apply/applier.js';

export class CompactionPace {
  readonly #cells: MetricCells;
  /** When the compaction under way began to remove records. */
  #beganMs: number | undefined;

  constructor(cells: MetricCells) {
    this.#cells = cells;
  }

  /** A slice of the applier's background work; returns whether there is more. */
  step(applier: Applier, recordsMax: number): boolean {
    const { mvcc } = applier;
    const removes = mvcc.compactRevision > mvcc.finishedCompactRevision;
    if (!removes) {
      this.#beganMs = undefined;
      return applier.background(recordsMax);
    }
    const fromMs = performance.now();
    this.#beganMs ??= fromMs;
    const { finishedCompactRevision } = mvcc;
    const more = applier.background(recordsMax);
    const toMs = performance.now();
    this.#cells.observe(Histogram.compactionPauseMs, toMs - fromMs);
    if (mvcc.finishedCompactRevision === finishedCompactRevision) return more;
    this.#cells.observe(Histogram.compactionTotalMs, toMs - this.#beganMs);
    this.#cells.set(Scalar.lastCompactionSeconds, Math.floor(Date.now() / 1_000));
    this.#beganMs = undefined;
    return more;
  }
}
