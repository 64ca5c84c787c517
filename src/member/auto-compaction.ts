/**
 * When the leader compacts by itself, and to which revision: etcd's two modes, with the time coming in.
 *
 *   periodic P   every member samples the revision every min(P, 1 h) / 10 and keeps samples for P; the leader compacts
 *                to the oldest one, first after P, then every min(P, 1 h), unless it is the one of the last time
 *   revision N   every five minutes the leader compacts to (current - N), when that is above 0 and not the last one
 *
 * A compaction that was asked for counts once it is seen done; one that was lost is asked for at the next sample.
 */

export interface AutoCompactionSettings {
  readonly mode: 'periodic' | 'revision';
  /** Length of the history to keep, by mode in milliseconds or revisions. 0: never compact. */
  readonly retention: number;
}

/** What a turn knows. */
export interface CompactionSight {
  readonly nowMs: number;
  readonly currentRevision: number;
  readonly compactRevision: number;
  readonly leads: boolean;
}

const HOUR_MS = 3_600_000;
const REVISION_INTERVAL_MS = 5 * 60_000;
const SAMPLES_PER_INTERVAL = 10;

export class AutoCompaction {
  readonly #settings: AutoCompactionSettings;
  /** Between compactions, once there is enough history. */
  readonly #intervalMs: number;
  readonly #sampleMs: number;
  readonly #samplesMax: number;
  /** Of the time P, oldest first; periodic mode only. */
  #samples: number[] = [];
  #sampledMs: number | undefined;
  #succeededMs: number | undefined;
  #hasCompacted = false;
  #lastRevision = 0;
  #askedRevision = 0;
  #askedMs = 0;

  constructor(settings: AutoCompactionSettings) {
    this.#settings = settings;
    const periodic = settings.mode === 'periodic';
    this.#intervalMs = periodic ? Math.min(settings.retention, HOUR_MS) : REVISION_INTERVAL_MS;
    this.#sampleMs = periodic ? this.#intervalMs / SAMPLES_PER_INTERVAL : REVISION_INTERVAL_MS;
    this.#samplesMax = periodic ? Math.floor(settings.retention / this.#sampleMs) + 1 : 0;
  }

  /** The revision to be compacted now, or undefined. To be called every turn, on every member. */
  turn(sight: CompactionSight): number | undefined {
    const { nowMs } = sight;
    if (this.#settings.retention <= 0) return undefined;
    if (this.#askedRevision > 0 && sight.compactRevision >= this.#askedRevision) this.#succeeded();
    if (this.#sampledMs === undefined) {
      this.#succeededMs = nowMs;
      this.#sample(sight);
      return undefined;
    }
    if (nowMs - this.#sampledMs < this.#sampleMs) return undefined;
    const revision = this.#due(sight);
    this.#sample(sight);
    if (revision !== undefined) {
      this.#askedRevision = revision;
      this.#askedMs = nowMs;
    }
    return revision;
  }

  #due(sight: CompactionSight): number | undefined {
    if (!sight.leads) return undefined;
    if (this.#settings.mode === 'revision') {
      const revision = sight.currentRevision - this.#settings.retention;
      return revision <= 0 || revision === this.#lastRevision ? undefined : revision;
    }
    const waitMs = this.#hasCompacted ? this.#intervalMs : this.#settings.retention;
    if (sight.nowMs - (this.#succeededMs as number) < waitMs) return undefined;
    const revision = this.#samples[0] as number;
    return revision === this.#lastRevision ? undefined : revision;
  }

  #sample({ nowMs, currentRevision }: CompactionSight): void {
    this.#sampledMs = nowMs;
    if (this.#samplesMax === 0) return;
    this.#samples.push(currentRevision);
    if (this.#samples.length > this.#samplesMax) this.#samples.shift();
  }

  #succeeded(): void {
    this.#hasCompacted = true;
    this.#lastRevision = this.#askedRevision;
    this.#askedRevision = 0;
    this.#succeededMs = this.#askedMs;
  }
}
