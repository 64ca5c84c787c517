/**
 * Maintenance.Defragment: runs the defragmenter between the turns' other work and puts its result in place.
 *
 *     request ─> commit, begin ─> a slice a turn ─> last turn: commit, finish, log names it, store adopts it ─> answer
 *                                                                                   former directory removed
 *
 * Everything in memory stays: the state is the same, only its file is another one. Requests that come while one runs
 * are answered by the next run. When the disk refuses, the member goes on with what it has and says so.
 */
import { rmSync } from 'node:fs';
import { EMPTY_BYTES } from '../base/bytes.js';
import { Histogram, Scalar } from '../transport/metric-cells.js';
import { EtcdErrorCode } from '../wire/errors.js';
import type { HostLink } from './host-link.js';
import { defragmenterOf, type OpenMember } from './open.js';
import type { Defragmenter } from './store/defragmenter.js';
import { stateDirectory } from './store/state-directory.js';
import { StorageError } from './store/storage-error.js';

interface Run {
  readonly defragmenter: Defragmenter;
  readonly requestIds: number[];
  readonly startedMs: number;
  readonly bytesBefore: number;
}

export class Defragmentation {
  readonly #host: HostLink;
  readonly #open: OpenMember;
  #waiting: number[] = [];
  #run: Run | undefined;

  constructor(host: HostLink, open: OpenMember) {
    this.#host = host;
    this.#open = open;
  }

  request(requestId: number): void {
    this.#waiting.push(requestId);
  }

  /** The client went away: what runs goes on, but nobody is told. */
  cancel(requestId: number): void {
    this.#waiting = this.#waiting.filter(waiting => waiting !== requestId);
    const requestIds = this.#run?.requestIds ?? [];
    const at = requestIds.indexOf(requestId);
    if (at !== -1) requestIds.splice(at, 1);
  }

  /** A slice of the work. Returns whether there is more to do. */
  turn(nowMs: number): boolean {
    const { store } = this.#open.state;
    if (this.#run === undefined) {
      if (this.#waiting.length === 0) return false;
      // Outside the rescue below: a commit of the state itself that fails is final.
      store.commit();
    }
    try {
      this.#run ??= this.#begin(nowMs);
      this.#inflight(1);
      if (this.#run.defragmenter.step()) return true;
    } catch (error) {
      this.#fail(error);
      this.#inflight(0);
      return this.#waiting.length > 0;
    }
    store.commit();
    this.#switch(this.#run, nowMs);
    this.#inflight(0);
    return this.#waiting.length > 0;
  }

  /** A snapshot replaced the state: begins again on the new one. */
  stateReplaced(): void {
    const run = this.#run;
    this.#run = undefined;
    run?.defragmenter.abandon();
    this.#inflight(0);
    this.#waiting = [...(run?.requestIds ?? []), ...this.#waiting];
  }

  /** The member stops. */
  failAll(visit: (requestId: number) => void): void {
    this.stateReplaced();
    this.#waiting.splice(0).forEach(visit);
  }

  /** Like etcd's member this one says so in its gRPC health, if the gate is open, although it does serve all the time. */
  #inflight(runs: 0 | 1): void {
    const { boot, cells } = this.#open;
    if (cells.get(Scalar.defragmentationsInflight) === runs) return;
    cells.set(Scalar.defragmentationsInflight, runs);
    if (boot.settings.stopGrpcServiceOnDefrag) this.#host.serving(runs === 0);
  }

  #begin(nowMs: number): Run {
    const requestIds = this.#waiting;
    this.#waiting = [];
    try {
      const bytesBefore = this.#open.state.store.sizeBytes();
      this.#host.log('info', 'starting defragmentation', { 'current-db-size-bytes': bytesBefore });
      return { defragmenter: defragmenterOf(this.#open), requestIds, startedMs: nowMs, bytesBefore };
    } catch (error) {
      this.#waiting = requestIds;
      throw error;
    }
  }

  #switch(run: Run, nowMs: number): void {
    const { defragmenter, requestIds, startedMs, bytesBefore } = run;
    const { log, state, boot } = this.#open;
    let environment: ReturnType<Defragmenter['finish']>;
    try {
      environment = defragmenter.finish();
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#run = undefined;
    this.#open.cells.observe(Histogram.backendDefragmentation, (nowMs - startedMs) / 1_000);
    const formerDirectory = stateDirectory(boot.directory, log.stateGeneration);
    log.switchState(defragmenter.generation);
    const former = state.store.adopt(environment);
    void former.close().then(() => rmSync(formerDirectory, { recursive: true, force: true }));
    const bytes = state.store.sizeBytes();
    this.#host.log('info', 'finished defragmentation', {
      'current-db-size-bytes': bytes,
      'current-db-size-bytes-diff': bytes - bytesBefore,
      took: `${Math.round(nowMs - startedMs)}ms`,
    });
    for (const requestId of requestIds) this.#host.reply(requestId, EMPTY_BYTES);
  }

  /** The new file could not be written: the old one is as good as before. */
  #fail(error: unknown): void {
    const run = this.#run;
    this.#run = undefined;
    run?.defragmenter.abandon();
    if (!(error instanceof StorageError)) throw error;
    this.#host.log('error', 'defragmentation failed', { error: error.message });
    const requestIds = run?.requestIds ?? this.#waiting.splice(0);
    for (const requestId of requestIds) this.#host.end(requestId, EtcdErrorCode.DefragmentFailed, error.message);
  }
}
