/**
 * One member thread seen from the host: start, stop, crash, and what happens when it dies by itself.
 *
 *     down --start--> starting --> up --stop/crash--> stopping --> down
 *                        \          \--died--> down (the cluster decides about a restart)
 *
 * Stop and crash are verbs the thread obeys at a turn's edge; see member-thread.ts for why. One that is up may stand
 * still for a while (pause, resume); a verb that ends it lets it go on first, to obey.
 */
import type * as Comlink from 'comlink';
import { assert } from '../base/assert.js';
import {
  type MemberBoot,
  type MemberControl,
  type MemberReport,
  type PeerConnection,
  StatusCells,
} from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { createLink } from '../transport/layout.js';
import { MetricCells } from '../transport/metric-cells.js';
import { PauseGate } from '../transport/pause-gate.js';
import { ServingStatus } from './api/health.js';
import { MemberPort } from './member-port.js';
import { MemberThread } from './member-thread.js';

export type MemberState = 'down' | 'starting' | 'up' | 'stopping';

/** What a handle needs to boot its thread, beside the rings it makes itself. */
export interface BootRecipe
  extends Omit<
    MemberBoot,
    'incarnation' | 'startTimeMs' | 'cells' | 'metrics' | 'fromHost' | 'toHost' | 'seed' | 'peers'
  > {
  /** The other members at the time of a start. */
  readonly peers: () => readonly PeerConnection[];
}

/** The rings between the host and a member. */
export type HostLinks = Pick<MemberBoot, 'fromHost' | 'toHost'>;

/** What the owner of a handle wants to hear. */
export interface HandleCallbacks {
  /** The thread has ended, for whatever reason. */
  readonly gone: () => void;
  /** The thread ended although nobody asked it to. */
  readonly died: (error: Error) => void;
  /** A log record of the member (JSON). */
  readonly log: (payload: Uint8Array) => void;
  /** The member table as of an applied index (a MemberListResponse). */
  readonly members: (appliedIndex: number, list: Uint8Array) => void;
}

/** Bytes of the rings between the host and one member, each way. */
const hostRingBytes = 4 * 1024 * 1024;

export class MemberHandle {
  readonly position: number;
  readonly cells = new StatusCells();
  readonly port: MemberPort;
  readonly serving = new ServingStatus();
  readonly recipe: BootRecipe;
  readonly #doorbell: Doorbell;
  readonly #callbacks: HandleCallbacks;
  #state: MemberState = 'down';
  #thread: MemberThread | undefined;
  #exited: Promise<void> = Promise.resolve();
  #ready: Promise<void> = Promise.resolve();
  #becomeReady: () => void = () => undefined;
  #incarnation = 0;
  #metrics = new MetricCells();
  #hostLinks: HostLinks | undefined;
  /** Where the thread stands, or is about to. */
  #gate: PauseGate | undefined;
  /** A start has succeeded: from then on an empty directory is a lost one. */
  #opened = false;

  constructor(recipe: BootRecipe, callbacks: HandleCallbacks) {
    this.position = recipe.position;
    this.recipe = recipe;
    this.#doorbell = new Doorbell(recipe.doorbell);
    this.#callbacks = callbacks;
    const { log, members } = callbacks;
    const serving = (isServing: boolean) => this.serving.set(isServing);
    this.port = new MemberPort({ ready: () => this.#becomeReady(), log, members, serving }, recipe.directory);
  }

  /** Resolves when this start of the member knows a leader and its attributes are published. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  /** What the member of the last start counts. */
  get metrics(): MetricCells {
    return this.#metrics;
  }

  /** The rings of the last start; undefined before there was one. */
  get hostLinks(): HostLinks | undefined {
    return this.#hostLinks;
  }

  /** Seconds that the thread's event loop was not waiting; undefined without a thread. */
  busySeconds(): number | undefined {
    return this.#thread?.busySeconds();
  }

  /** How often the member was started. */
  get starts(): number {
    return this.#incarnation;
  }

  get state(): MemberState {
    return this.#state;
  }

  /**
   * Makes a member of a thread: a new one, or one that has been loading already. Rejects when it cannot be; the error's
   * message is for the operator.
   */
  async start(thread = new MemberThread(this.position)): Promise<MemberReport> {
    assert(this.#state === 'down', 'only a member that is down can be started', { state: this.#state });
    this.#state = 'starting';
    this.#incarnation += 1;
    this.#metrics = new MetricCells();
    this.serving.set(true);
    const boot: MemberBoot = {
      ...this.recipe,
      mayFound: this.recipe.mayFound && !this.#opened,
      peers: this.recipe.peers(),
      incarnation: this.#incarnation,
      startTimeMs: Date.now(),
      seed: (Math.random() * 2 ** 32) >>> 0,
      cells: this.cells.buffer,
      metrics: this.#metrics.buffer,
      fromHost: createLink(hostRingBytes),
      toHost: createLink(hostRingBytes),
    };
    this.#thread = thread;
    this.#exited = thread.ended.then(failure => this.#onExit(failure ?? new Error('the member thread ended')));
    this.#ready = new Promise(resolve => {
      this.#becomeReady = resolve;
    });
    this.#hostLinks = boot;
    this.port.attach(boot.fromHost, boot.toHost, this.#incarnation, this.#doorbell, this.#metrics);
    const report = await thread.start(boot);
    this.#opened = true;
    // A stop may have been asked for meanwhile.
    if (this.#state === 'starting') this.#state = 'up';
    return report;
  }

  /** A member was added to the host: a thread that runs is told, one that starts later finds it in its recipe. */
  connect(peer: PeerConnection): void {
    this.#tell(control => control.connect(peer));
  }

  /** The member at `position` was removed and its thread has ended. */
  disconnect(position: number): void {
    this.#tell(control => control.disconnect(position));
  }

  /** The reply may never come: the thread may end while it is on its way. */
  #tell(verb: (control: Comlink.Remote<MemberControl>) => Promise<void>): void {
    if (this.#thread !== undefined) verb(this.#thread.control).catch(() => undefined);
  }

  /** Asks the member to stand for election at once. */
  campaign(): void {
    void this.#thread?.control.campaign();
  }

  get paused(): boolean {
    return this.#gate !== undefined;
  }

  /** Stops the thread between two turns, until `resume`; resolves when it stands still, or has ended. */
  async pause(): Promise<void> {
    const gate = this.#gate ?? new PauseGate();
    if (this.#gate === undefined) this.#tell(control => control.pause(gate.buffer));
    this.#gate = gate;
    await Promise.race([gate.stands(), this.#exited]);
  }

  resume(): void {
    this.#gate?.open();
    this.#gate = undefined;
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
    const thread = this.#thread;
    if (thread === undefined) return;
    if (this.#state !== 'stopping') {
      this.#state = 'stopping';
      // The reply may never come: the thread ends while it is on its way.
      verb(thread.control).catch(() => undefined);
    }
    this.resume();
    await this.#exited;
  }

  #onExit(failure: Error): void {
    const unexpected = this.#state === 'up';
    this.#state = 'down';
    this.#thread = undefined;
    this.#gate = undefined;
    this.port.detach();
    this.#callbacks.gone();
    if (unexpected) this.#callbacks.died(failure);
  }

  /** Whether the thread exists, in any state. */
  get running(): boolean {
    return this.#thread !== undefined;
  }
}
