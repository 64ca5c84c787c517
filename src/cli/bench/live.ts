/**
 * What a terminal shows while a run goes on: one line, rewritten a few times a second.
 *
 *     put  embedded  100 clients  [##########----------]  38,411/s  p50 2.11 ms  p99 7.80 ms  0 errors
 */
import type { LoadProgress } from '../../load/unary-load.js';
import type { Printer } from '../arguments.js';
import type { BenchPlan } from './flags.js';
import { count, milliseconds } from './numbers.js';

const drawEveryMs = 200;
const barCells = 20;

export class LiveView {
  readonly #print: Printer;
  readonly #isTerminal: boolean;
  readonly #plan: BenchPlan;
  #head = '';
  #timer: NodeJS.Timeout | undefined;
  #lastCount = 0;
  #lastMs = 0;

  /** Shows nothing unless `isTerminal`. */
  constructor(print: Printer, isTerminal: boolean, plan: BenchPlan) {
    this.#print = print;
    this.#isTerminal = isTerminal;
    this.#plan = plan;
  }

  /** A run begins: connections, leases and keys come first. */
  begin(target: string, clients: number): void {
    this.#head = `${this.#plan.operation}  ${target}  ${clients} client${clients === 1 ? '' : 's'}`;
    this.#draw(`${this.#head}  warming up`);
  }

  /** Its measured time begins. */
  measuring(progress: LoadProgress): void {
    if (!this.#isTerminal) return;
    this.#lastCount = progress.histogram.count;
    this.#lastMs = performance.now();
    this.#timer = setInterval(() => this.#show(progress), drawEveryMs);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#draw('');
  }

  #show({ histogram, failed, fromMs }: LoadProgress): void {
    const nowMs = performance.now();
    const rate = ((histogram.count - this.#lastCount) * 1000) / (nowMs - this.#lastMs);
    this.#lastCount = histogram.count;
    this.#lastMs = nowMs;
    const { total, seconds } = this.#plan;
    const share = Math.min(1, total === undefined ? (nowMs - fromMs) / 1000 / seconds : histogram.count / total);
    const bar = '#'.repeat(Math.round(share * barCells)).padEnd(barCells, '-');
    const errors = Object.values(failed).reduce((sum, more) => sum + more, 0);
    const latencies = `p50 ${milliseconds(histogram.quantile(0.5))}  p99 ${milliseconds(histogram.quantile(0.99))}`;
    this.#draw(`${this.#head}  [${bar}]  ${count(rate)}/s  ${latencies}  ${count(errors)} errors`);
  }

  #draw(line: string): void {
    // Back to the first column, and whatever was there before goes.
    if (this.#isTerminal) this.#print.error(`\r\x1b[K${line}`);
  }
}
