/**
 * One member thread seen from the host: start, stop, crash, and what happens when it dies by itself.
 *
 *     down --start--> starting --> up --stop/crash--> stopping --> down
 *                        \          \--died--> down (the cluster decides about a restart)
 *
 * A member thread is never terminated from outside: a thread that has LMDB open can hang or abort the process when it
 * is. Stop and crash are verbs the thread obeys at a turn edge.
 */
import { Worker } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { assert } from '../base/assert.js';
import { type MemberBoot, type MemberControl, type MemberReport, StatusCells } from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { createLink } from '../transport/layout.js';
import { MemberPort } from './member-port.js';

export type MemberState = 'down' | 'starting' | 'up' | 'stopping';

/** What a handle needs to boot its thread, beside the rings it makes itself. */
export type BootRecipe = Omit<MemberBoot, 'incarnation' | 'startTimeMs' | 'cells' | 'fromHost' | 'toHost' | 'seed'>;

/** What the owner of a handle wants to hear. */
export interface HandleCallbacks {
  /** The thread has ended, for whatever reason. */
  readonly gone: () => void;
  /** The thread ended although nobody asked it to. */
  readonly died: (error: Error) => void;
  /** A log record of the member (JSON). */
  readonly log: (payload: Uint8Array) => void;
}

/** Bytes of the rings between the host and one member, each way. */
const hostRingBytes = 4 * 1024 * 1024;

const workerUrl = new URL('../../workers/member.js', import.meta.url);

export class MemberHandle {
  readonly position: number;
  readonly cells = new StatusCells();
  readonly port: MemberPort;
  readonly #recipe: BootRecipe;
  readonly #doorbell: Doorbell;
  readonly #callbacks: HandleCallbacks;
  #state: MemberState = 'down';
  #worker: Worker | undefined;
  #control: Comlink.Remote<MemberControl> | undefined;
  #exited: Promise<void> = Promise.resolve();
  #ready: Promise<void> = Promise.resolve();
  #becomeReady: () => void = () => undefined;
  #incarnation = 0;

  constructor(recipe: BootRecipe, callbacks: HandleCallbacks) {
    this.position = recipe.position;
    this.#recipe = recipe;
    this.#doorbell = new Doorbell(recipe.doorbell);
    this.#callbacks = callbacks;
    this.port = new MemberPort({ ready: () => this.#becomeReady(), log: callbacks.log });
  }

  /** Resolves when this start of the member knows a leader and its attributes are published. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  get state(): MemberState {
    return this.#state;
  }

  /** Boots the thread and opens its store. Rejects when the thread cannot (its error's message is for the operator). */
  async start(): Promise<MemberReport> {
    assert(this.#state === 'down', 'only a member that is down can be started', { state: this.#state });
    this.#state = 'starting';
    this.#incarnation += 1;
    const boot: MemberBoot = {
      ...this.#recipe,
      incarnation: this.#incarnation,
      startTimeMs: Date.now(),
      seed: (Math.random() * 2 ** 32) >>> 0,
      cells: this.cells.buffer,
      fromHost: createLink(hostRingBytes),
      toHost: createLink(hostRingBytes),
    };
    const worker = new Worker(workerUrl, { workerData: boot, name: `kvorum-${this.position + 1}` });
    this.#worker = worker;
    let failure = new Error('the member thread ended');
    worker.on('error', error => {
      failure = error as Error;
    });
    this.#exited = new Promise(resolve => worker.once('exit', () => this.#onExit(failure, resolve)));
    this.#control = Comlink.wrap<MemberControl>(nodeEndpoint(worker));
    this.#ready = new Promise(resolve => {
      this.#becomeReady = resolve;
    });
    this.port.attach(boot.fromHost, boot.toHost, this.#incarnation, this.#doorbell);
    const report = await this.#orExit(this.#control.start(), () => failure);
    this.#state = 'up';
    return report;
  }

  /** Asks the member to stand for election at once. */
  campaign(): void {
    void this.#control?.campaign();
  }

  /** Ends the thread after it has committed and closed its store; a leader may hand over first. */
  async stop(handOver: boolean): Promise<void> {
    await this.#end(control => control.stop(handOver));
  }

  /** Ends the thread at once, committing nothing. */
  async crash(): Promise<void> {
    await this.#end(control => control.crash());
  }

  async #end(verb: (control: Comlink.Remote<MemberControl>) => Promise<void>): Promise<void> {
    const control = this.#control;
    if (control === undefined) return;
    if (this.#state !== 'stopping') {
      this.#state = 'stopping';
      // The reply may never come: the thread ends while it is on its way.
      verb(control).catch(() => undefined);
    }
    await this.#exited;
  }

  /** Comlink calls hang when their thread dies (comlink has no notion of it): race them with the exit. */
  async #orExit<T>(call: Promise<T>, failure: () => Error): Promise<T> {
    return await Promise.race([call, this.#exited.then(() => Promise.reject(failure()))]);
  }

  #onExit(failure: Error, resolve: () => void): void {
    const unexpected = this.#state === 'up';
    this.#state = 'down';
    this.#worker = undefined;
    this.#control = undefined;
    this.port.detach();
    this.#callbacks.gone();
    resolve();
    if (unexpected) this.#callbacks.died(failure);
  }

  /** Whether the thread exists, in any state. */
  get running(): boolean {
    return this.#worker !== undefined;
  }
}
