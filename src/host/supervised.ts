/**
 * One member of the host: its thread and its endpoint, kept up until the user, the cluster or its removal takes it down.
 *
 *     boot / start ──> up ──stop, kill, close──> down
 *                       \ ──dies by itself──> endpoint closed, a pause that grows, up again
 *
 * Invariant: a member that was removed from the cluster is never started again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { MemberIdentity, MemberReport } from '../transport/control.js';
import { StartError } from './data-directory.js';
import type { Endpoint } from './endpoint.js';
import { logMemberRecord } from './logger.js';
import type { HandleCallbacks, MemberHandle } from './member-handle.js';
import type { MemberThread } from './member-thread.js';

/** Restart pauses of a member that keeps dying: doubled from the first to the last. */
const restartPauseMs = { first: 100, last: 5_000 } as const;

/** How long `member.start()` waits for the member to hear of a leader. */
const startedReadyMs = 2_000;

/** A member that stayed up this long is forgiven its earlier deaths. */
const forgivenAfterMs = 60_000;

/** How long open calls may go on while the cluster closes; the whole close stays under 5 s. */
export const closeGraceMs = 1_500;

/** One member as the library's user sees it. */
export interface ClusterMember {
  readonly name: string;
  /** As etcdctl prints it: lower-case hex. */
  readonly id: string;
  /** `http://127.0.0.1:2379` */
  readonly endpoint: string;
  /** Where its metrics are to be had besides; undefined without `listenMetricsUrls`. */
  readonly metricsUrl: string | undefined;
  /** Whether the member's thread is up. */
  readonly running: boolean;
  /** Ends the member in order: its store is committed, its endpoint closed. It stays down until `start`. */
  stop(): Promise<void>;
  /** Brings a stopped, killed or failed member back on the same endpoint; waits a while for it to hear of a leader. */
  start(): Promise<void>;
  /** Ends the member at once, as kill -9 would end its process. It stays down until `start`. */
  kill(): Promise<void>;
  /** Whether the member stands still: see `pause`. */
  readonly paused: boolean;
  /**
   * Stops the member's thread until `resume`, as SIGSTOP stops a process; resolves when it stands still. Its calls wait,
   * the others elect another leader if it led; /metrics goes on, health checks fail. Rejects with StartError when the
   * member is down. `stop`, `kill` and its removal end the pause.
   */
  pause(): Promise<void>;
  /** Lets a paused member go on where it stood. */
  resume(): void;
}

/** A member's thread and endpoint, kept up until the user or the cluster takes them down. */
export class Supervised implements ClusterMember {
  readonly name: string;
  readonly id: string;
  readonly handle: MemberHandle;
  /** Resolves when the member was removed from the cluster and its thread has ended. */
  readonly retired: Promise<void>;
  /** It was removed from the cluster, or is being. */
  removed = false;
  readonly #endpoint: Endpoint;
  readonly #logger: Logger;
  #wanted = false;
  #deaths = 0;
  #upSinceMs = 0;
  #hasRetired: () => void = () => undefined;

  constructor(
    identity: MemberIdentity,
    endpoint: Endpoint,
    logger: Logger,
    callbacks: Pick<HandleCallbacks, 'gone' | 'members'>,
    createHandle: (callbacks: HandleCallbacks) => MemberHandle,
  ) {
    this.name = identity.name;
    this.id = identity.id.toString(16);
    this.#endpoint = endpoint;
    this.#logger = logger.child({ member: identity.name, 'local-member-id': identity.id.toString(16) });
    this.handle = createHandle({
      ...callbacks,
      died: error => void this.#restart(error),
      log: payload => logMemberRecord(this.#logger, payload),
    });
    this.retired = new Promise(resolve => {
      this.#hasRetired = resolve;
    });
    endpoint.serve(this.handle);
  }

  get endpoint(): string {
    return this.#endpoint.url;
  }

  get metricsUrl(): string | undefined {
    return this.#endpoint.metricsUrl;
  }

  get isExposed(): boolean {
    return this.#endpoint.isExposed;
  }

  get running(): boolean {
    return this.handle.state === 'up';
  }

  /** First start, at cluster start: the endpoint is open already. */
  async boot(thread: MemberThread): Promise<MemberReport> {
    this.#wanted = true;
    const report = await this.handle.start(thread);
    this.#upSinceMs = performance.now();
    return report;
  }

  async start(): Promise<void> {
    if (this.removed) throw new StartError(`member ${this.name} was removed from the cluster; add a new one`);
    if (this.#wanted && this.running) return;
    this.#wanted = true;
    this.#deaths = 0;
    await this.#up();
    // Usually the leader is heard of within a heartbeat; without a quorum there is none to wait for.
    await Promise.race([this.handle.ready, delay(startedReadyMs, undefined, { ref: false })]);
  }

  async stop(): Promise<void> {
    await this.endpointClose(closeGraceMs);
    await this.handle.stop(true);
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    const crashed = this.handle.crash();
    await this.#endpoint.close(0);
    await crashed;
  }

  get paused(): boolean {
    return this.handle.paused;
  }

  async pause(): Promise<void> {
    if (!this.running) throw new StartError(`member ${this.name} is not running; start it before it is paused`);
    await this.handle.pause();
    this.#logger.info('paused');
  }

  resume(): void {
    if (!this.paused) return;
    this.handle.resume();
    this.#logger.info('resumed');
  }

  async endpointClose(graceMs: number): Promise<void> {
    this.#wanted = false;
    this.handle.port.endStreams();
    await this.#endpoint.close(graceMs);
  }

  async retire(): Promise<void> {
    this.#wanted = false;
    await this.handle.stop(false);
  }

  hasRetired(): void {
    this.#hasRetired();
  }

  async #up(): Promise<void> {
    await this.handle.start();
    this.#upSinceMs = performance.now();
    await this.#endpoint.reopen();
  }

  /** The thread died by itself: bring it back, after a pause that grows while it keeps dying. */
  async #restart(error: Error): Promise<void> {
    if (performance.now() - this.#upSinceMs > forgivenAfterMs) this.#deaths = 0;
    for (;;) {
      const pauseMs = Math.min(restartPauseMs.first * 2 ** this.#deaths, restartPauseMs.last);
      this.#deaths += 1;
      this.#logger.error({ err: error, deaths: this.#deaths, pause: `${pauseMs}ms` }, 'member died; restarting it');
      await this.#endpoint.close(0);
      await delay(pauseMs);
      if (!this.#wanted || this.removed) return;
      try {
        await this.#up();
        return;
      } catch (failure) {
        error = failure as Error;
      }
    }
  }
}
