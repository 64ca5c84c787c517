/**
 * Cycles of load and crash on one server: the loop of all crash tests.
 *
 *   new directory ─► [ start ─► ready ─► verify ─► load ─► crash ] × n ─► start ─► ready ─► verify ─► terminate
 *                      └───────────── crash at any point ───────────┘
 *
 * `verify` judges all former lives of the directory by the ledger. A crash is a kill -9 of the host process or, on the
 * faulty disk, a power cut; it comes during the load, or at a random moment before: in the first milliseconds of a new
 * directory, during recovery, during the checks themselves. Everything follows from one seed, except the timing of
 * the machine. A failing run keeps its directory, the ledger and the server's output, and names them in its error.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Prng } from '../../src/base/prng.js';
import type { GrpcClient } from '../support/grpc-client.js';
import { type DiskEvent, exitHarnessFailed, exitPowerCut } from './faulty-disk.js';
import { Ledger } from './ledger.js';
import { defaultLoad, LedgerClient, type LoadOptions } from './ledger-client.js';
import { type Exit, ServerDied, ServerLife, type ServerPlan } from './server-life.js';
import { LedgerViolation, verify } from './verify.js';

export interface CycleOptions {
  readonly plan: (root: string) => Promise<ServerPlan>;
  readonly crash: 'kill' | 'power-cut';
  readonly cycles: number;
  /** Crashes that one data directory lives through before a new one is made. */
  readonly cyclesPerDirectory: number;
  readonly seed: number;
  readonly load?: LoadOptions;
  /** `start`: before or soon after the server is ready; `load`: after some writes; default: either. */
  readonly moments?: 'start' | 'load';
  /** The disk's syncs make nothing durable: the run must fail. */
  readonly lying?: boolean;
  /** Told after each cycle. */
  readonly progress?: (totals: CycleTotals) => void;
}

export interface CycleTotals {
  cycles: number;
  /** Crashes that came before the server was ready. */
  crashesBeforeReady: number;
  acknowledged: number;
  /** Writes without an answer, and those of them that were in the store afterwards. */
  unknown: number;
  resolved: number;
  reads: number;
  /** Changes that were not durable at the power cuts, and what became of them. */
  pending: number;
  kept: number;
  torn: number;
  lost: number;
  namesLost: number;
}

/** A broken promise, or a server that did not come back; `cause` says which. `root` holds what was kept. */
export class CycleFailed extends Error {
  override readonly name = 'CycleFailed';
  readonly root: string;

  constructor(where: string, root: string, cause: unknown) {
    super(`${where}, kept in ${root}: ${String(cause)}`, { cause });
    this.root = root;
  }
}

/** The load goes on until so many writes are acknowledged, and a random moment longer. */
const loadWritesBounds = [10, 100, 1_000] as const;
const loadExtraMsMax = 20;
const loadMsMax = 500;
const earlyMsMax = 500;
/** A connection breaks before the exit of its process is seen. */
const exitNoticeMs = 1_000;
/** Changes and syncs after which an exactly placed cut comes: small numbers meet the making of a new directory. */
const cutAtBounds = [150, 500, 3_000] as const;
/** Microseconds of one sync: a disk with a cache of its own, a good one, one that somebody else keeps busy. */
const syncSpeeds = [
  [0, 50],
  [50, 400],
  [500, 20_000],
] as const;
/** The only file that servers may map for writing: its contents mean nothing after a restart. */
const mappedAllowed = /\/lock\.mdb$/;

/** Runs the cycles; throws on the first broken promise, with the seed and the path of what was kept. */
export async function runCycles(options: CycleOptions): Promise<CycleTotals> {
  const totals: CycleTotals = {
    ...{ cycles: 0, crashesBeforeReady: 0, acknowledged: 0, unknown: 0, resolved: 0, reads: 0 },
    ...{ pending: 0, kept: 0, torn: 0, lost: 0, namesLost: 0 },
  };
  while (totals.cycles < options.cycles) {
    const crashes = Math.min(options.cyclesPerDirectory, options.cycles - totals.cycles);
    await new Directory(options, totals).run(crashes);
  }
  return totals;
}

/** Runs cycles that must fail, removes what was kept and returns the first line of what was found. */
export async function runUntilCaught(options: CycleOptions): Promise<string> {
  try {
    await runCycles(options);
  } catch (error) {
    if (!(error instanceof CycleFailed)) throw error;
    await rm(error.root, { recursive: true });
    return String(error.cause).split('\n', 1)[0]!;
  }
  throw new Error(`nothing was caught in ${options.cycles} cycles, seed ${options.seed}`);
}

/** When the crash of one cycle comes. */
type CrashMoment =
  | { readonly kind: 'early'; readonly ms: number }
  | { readonly kind: 'load'; readonly writes: number; readonly ms: number }
  | { readonly kind: 'change'; readonly cutAt: number };

/** One data directory and all the lives of the server on it. */
class Directory {
  readonly #options: CycleOptions;
  readonly #totals: CycleTotals;
  readonly #root = mkdtempSync(join(tmpdir(), 'kvorum-crash-'));
  readonly #report = join(this.#root, 'disk-events.jsonl');
  readonly #ledger = new Ledger();
  readonly #prng: Prng;
  #eventsSeen = 0;
  #output = '';

  constructor(options: CycleOptions, totals: CycleTotals) {
    this.#options = options;
    this.#totals = totals;
    this.#prng = new Prng(options.seed + totals.cycles);
  }

  async run(crashes: number): Promise<void> {
    const firstCycle = this.#totals.cycles;
    try {
      const plan = await this.#options.plan(this.#root);
      await mkdir(plan.directory);
      for (let i = 0; i < crashes; i++) {
        await this.#cycle(plan, this.#moment(i === 0));
        this.#totals.cycles++;
        this.#options.progress?.(this.#totals);
      }
      await this.#lastLife(plan);
    } catch (error) {
      this.#ledger.dump(join(this.#root, 'ledger.jsonl'));
      writeFileSync(join(this.#root, 'server-output.txt'), this.#output);
      const where = `cycle ${this.#totals.cycles - firstCycle} of a directory, seed ${this.#options.seed + firstCycle}`;
      throw new CycleFailed(where, this.#root, error);
    }
    this.#totals.acknowledged += this.#ledger.history.size;
    this.#totals.reads += this.#ledger.readCount;
    await rm(this.#root, { recursive: true });
  }

  #moment(isNew: boolean): CrashMoment {
    const prng = this.#prng;
    const choice = prng.nextBelow(100);
    const { moments } = this.#options;
    const isEarly = moments === undefined ? choice < (isNew ? 50 : 15) : moments === 'start';
    if (this.#options.crash === 'power-cut' && moments !== 'load' && prng.nextBelow(2) === 0) {
      const bound = isEarly ? cutAtBounds[0] : cutAtBounds[1 + prng.nextBelow(2)]!;
      return { kind: 'change', cutAt: 1 + prng.nextBelow(bound) };
    }
    if (isEarly) return { kind: 'early', ms: prng.nextBelow(earlyMsMax) };
    const bound = loadWritesBounds[prng.nextBelow(loadWritesBounds.length)]!;
    return { kind: 'load', writes: prng.nextBelow(bound), ms: prng.nextBelow(loadExtraMsMax) };
  }

  async #cycle(plan: ServerPlan, moment: CrashMoment): Promise<void> {
    const server = await this.#start(plan, moment.kind === 'change' ? moment.cutAt : undefined);
    const crash = () => (this.#options.crash === 'kill' ? server.kill() : server.cutPower());
    const early = moment.kind === 'early' ? setTimeout(crash, moment.ms) : undefined;
    try {
      const clients = await server.ready();
      clearTimeout(early);
      await this.#verify(clients);
      await this.#loadUntilCrash(server, moment, crash);
    } catch (error) {
      // Whatever the crash interrupted is repeated in the next life; what was broken before it is an error.
      const isCrash = await this.#hasCrashed(server, early);
      if (error instanceof LedgerViolation) throw error;
      if (!isCrash) throw error;
      if (error instanceof ServerDied) this.#totals.crashesBeforeReady++;
    } finally {
      clearTimeout(early);
      const exit = await crash();
      this.#output = server.output;
      this.#judge(server, exit);
    }
  }

  /** Whether the planned crash has come, or is about to: a broken connection may be seen before the exit is. */
  async #hasCrashed(server: ServerLife, early: NodeJS.Timeout | undefined): Promise<boolean> {
    const isPlanned = early !== undefined || this.#options.crash === 'power-cut';
    if (!isPlanned) return false;
    const late = new Promise<undefined>(resolve => setTimeout(() => resolve(undefined), exitNoticeMs).unref());
    return (await Promise.race([server.exited, late])) !== undefined;
  }

  async #start(plan: ServerPlan, cutAt?: number): Promise<ServerLife> {
    if (this.#options.crash === 'kill') return ServerLife.start(plan);
    const seed = this.#prng.nextUint32();
    const syncUs = syncSpeeds[this.#prng.nextBelow(syncSpeeds.length)]!;
    const faults = { seed, syncUs, lying: this.#options.lying === true, ...(cutAt === undefined ? {} : { cutAt }) };
    return ServerLife.startOnFaultyDisk(plan, faults, this.#report);
  }

  async #verify(clients: readonly GrpcClient[]): Promise<void> {
    try {
      const { resolved } = await verify(this.#ledger, clients);
      this.#totals.resolved += resolved;
    } finally {
      for (const client of clients) client.close();
    }
  }

  async #loadUntilCrash(server: ServerLife, moment: CrashMoment, crash: () => Promise<Exit>): Promise<void> {
    const { load = defaultLoad } = this.#options;
    const client = new LedgerClient(this.#ledger, server.plan.endpoints, this.#prng, load);
    const running = client.run();
    const { writes, ms } = moment.kind === 'load' ? moment : { writes: Number.POSITIVE_INFINITY, ms: 0 };
    await Promise.race([client.progress(writes, loadMsMax), server.exited]);
    await Promise.race([new Promise(resolve => setTimeout(resolve, ms)), server.exited]);
    await crash();
    client.stop();
    await running;
    this.#totals.unknown += this.#ledger.unknown.size;
  }

  #judge(server: ServerLife, exit: Exit): void {
    if (this.#options.crash === 'kill') {
      if (exit.signal !== 'SIGKILL') throw new ServerDied(`ended by itself, code ${exit.code}:\n${server.lastWords}`);
      return;
    }
    if (exit.signal === 'SIGUSR2') return; // The power went before the disk was up: nothing has happened.
    const events = server.diskEvents.slice(this.#eventsSeen);
    this.#eventsSeen += events.length;
    for (const event of events) this.#count(event);
    if (exit.code === exitHarnessFailed) throw new Error(`faulty-disk failed:\n${server.lastWords}`);
    if (exit.code !== exitPowerCut) throw new ServerDied(`ended by itself, code ${exit.code}:\n${server.lastWords}`);
  }

  #count(event: DiskEvent): void {
    if (event.event === 'mapped-writable' && !mappedAllowed.test(event.path)) {
      throw new Error(`${event.path} is mapped for writing: the faulty disk cannot see its changes`);
    }
    if (event.event !== 'cut') return;
    this.#totals.pending += event.pending;
    this.#totals.kept += event.kept;
    this.#totals.torn += event.torn;
    this.#totals.lost += event.lost;
    this.#totals.namesLost += event.namesLost;
  }

  /** A last start on the machine's own disk: nothing may be missing, and the server ends when it is asked to. */
  async #lastLife(plan: ServerPlan): Promise<void> {
    const server = ServerLife.start(plan);
    try {
      await this.#verify(await server.ready());
    } finally {
      await server.terminate();
      this.#output = server.output;
    }
  }
}
