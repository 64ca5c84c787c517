/**
 * Where a write's time goes: one write at a time is followed from the host's ring to its answer.
 *
 *     host's ring ──queue──> turn ──propose──> log write begins ──persist──> durable here ──commit──> a quorum has it
 *                 ──apply──> applied ──reply──> the answer is in the ring to the host
 *
 * It is the first write of a turn in which none is being followed: at a full load one of each batch. On a follower
 * `propose` includes the way to the leader and back. A write that never comes to its end is given up after a while.
 */
import { Histogram, type MetricCells, Scalar } from '../transport/metric-cells.js';
import type { Entry } from './raft/types.js';

const givenUpMs = 10_000;

const Stage = { Idle: 0, Proposed: 1, Persisting: 2, Persisted: 3, Applied: 4 } as const;
type Stage = (typeof Stage)[keyof typeof Stage];

export class WriteProbe {
  readonly #cells: MetricCells;
  /** What to add to this thread's clock for the one that all threads share. */
  readonly #sharedClockOffsetMs: number;
  #stage: Stage = Stage.Idle;
  #counter = -1;
  #data: Uint8Array | undefined;
  /** When the stage under way began. */
  #sinceMs = 0;
  #begunMs = 0;
  #publishedMs = 0;

  constructor(cells: MetricCells, sharedClockOffsetMs: number) {
    this.#cells = cells;
    this.#sharedClockOffsetMs = sharedClockOffsetMs;
  }

  /** A client's write was taken from the ring in the turn that began at `nowMs`. */
  begin(counter: number, data: Uint8Array, nowMs: number): void {
    if (this.#stage !== Stage.Idle && nowMs - this.#begunMs < givenUpMs) return;
    this.#stage = Stage.Proposed;
    this.#counter = counter;
    this.#data = data;
    this.#begunMs = nowMs;
    this.#sinceMs = nowMs;
    const publishedMs = this.#cells.get(Scalar.hostPublishedMs);
    if (publishedMs === this.#publishedMs) return;
    this.#publishedMs = publishedMs;
    const queuedMs = nowMs + this.#sharedClockOffsetMs - publishedMs;
    if (queuedMs >= 0) this.#cells.observe(Histogram.writeQueue, queuedMs / 1_000);
  }

  /** These entries are about to be written to the log. */
  writing(entries: readonly Entry[], nowMs: number): void {
    const data = this.#data;
    if (this.#stage !== Stage.Proposed || data === undefined) return;
    if (!entries.some(entry => isSame(entry.data, data))) return;
    this.#data = undefined;
    this.#cells.observe(Histogram.writePropose, this.#lap(nowMs));
    this.#stage = Stage.Persisting;
  }

  /** They are durable. */
  written(nowMs: number): void {
    if (this.#stage !== Stage.Persisting) return;
    this.#cells.observe(Histogram.writePersist, this.#lap(nowMs));
    this.#stage = Stage.Persisted;
  }

  /** A write of this member was applied: it began at `fromMs` and ended at `toMs`. */
  applied(counter: number, fromMs: number, toMs: number): void {
    if (counter !== this.#counter) return;
    this.#counter = -1;
    if (this.#stage !== Stage.Persisted) {
      this.#stage = Stage.Idle;
      return;
    }
    this.#cells.observe(Histogram.writeCommit, this.#lap(fromMs));
    this.#cells.observe(Histogram.writeApply, this.#lap(toMs));
    this.#stage = Stage.Applied;
  }

  /** Whether the answer of the write that is followed waits to be published. */
  get answered(): boolean {
    return this.#stage === Stage.Applied;
  }

  /** It is. */
  published(nowMs: number): void {
    this.#cells.observe(Histogram.writeReply, this.#lap(nowMs));
    this.#stage = Stage.Idle;
  }

  /** Seconds of the stage that ends now. */
  #lap(nowMs: number): number {
    const seconds = Math.max(0, nowMs - this.#sinceMs) / 1_000;
    this.#sinceMs = nowMs;
    return seconds;
  }
}

/** Whether two entries are the same request: their ids, which differ first of all, stand at the end. */
function isSame(left: Uint8Array, right: Uint8Array): boolean {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  for (let at = left.length - 1; at >= 0; at -= 1) if (left[at] !== right[at]) return false;
  return true;
}
