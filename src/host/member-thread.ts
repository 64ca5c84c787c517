/**
 * A worker thread on its way to become a member. Loading a member's modules is most of a start, so threads are made
 * first and told later what to be: meanwhile the host binds ports and locks its directory.
 *
 * A thread that may have LMDB open is never terminated from outside (it can hang or abort the process): it ends by verbs
 * that it obeys itself.
 */
import { Worker } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { MemberBoot, MemberControl, MemberReport } from '../transport/control.js';

const workerUrl = new URL('../../workers/member.js', import.meta.url);

export class MemberThread {
  readonly control: Comlink.Remote<MemberControl>;
  /** Resolves when the thread has ended, with what it died of; undefined after a plain exit. */
  readonly ended: Promise<Error | undefined>;

  readonly #worker: Worker;

  constructor(position: number) {
    const worker = new Worker(workerUrl, { name: `kvorum-${position + 1}` });
    this.#worker = worker;
    let failure: Error | undefined;
    worker.on('error', error => {
      failure = error as Error;
    });
    this.ended = new Promise(resolve => worker.once('exit', () => resolve(failure)));
    this.control = Comlink.wrap<MemberControl>(nodeEndpoint(worker));
  }

  /**
   * Opens the member. Rejects with its reason when it cannot. Comlink's calls hang when their thread dies (it has no
   * notion of that), so the call races the thread's end.
   */
  async start(boot: MemberBoot): Promise<MemberReport> {
    const died = this.ended.then(failure => Promise.reject(failure ?? new Error('the member thread ended')));
    return await Promise.race([this.control.start(boot), died]);
  }

  /** Seconds that the event loop was not waiting. The thread is not asked: it may be busy. */
  busySeconds(): number {
    return this.#worker.performance.eventLoopUtilization().active / 1_000;
  }

  /** Ends a thread that was never started. */
  async abandon(): Promise<void> {
    this.control.crash().catch(() => undefined);
    await this.ended;
  }
}
