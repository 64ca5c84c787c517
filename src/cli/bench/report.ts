/**
 * What a run says: the JSON report, and the table made of it.
 */
import { cpus } from 'node:os';
import { kvorumVersion } from '../../base/version.js';
import type { BenchPlan } from './flags.js';
import type { Outcome } from './measure.js';
import { count, milliseconds } from './numbers.js';
import type { Target } from './target.js';

export interface BenchReport {
  readonly kvorum: string;
  readonly node: string;
  readonly cpus: number;
  readonly at: string;
  readonly plan: BenchPlan;
  readonly targets: readonly { readonly name: string; readonly endpoints: readonly string[] }[];
  readonly outcomes: readonly Outcome[];
  /** The first target's throughput by the second's, for each number of clients. */
  readonly ratios: readonly { readonly clients: number; readonly perSecond: number; readonly p99: number }[];
}

export function reportOf(plan: BenchPlan, targets: readonly Target[], outcomes: readonly Outcome[]): BenchReport {
  const [first, second] = targets;
  const of = (target: Target | undefined, clients: number): Outcome | undefined =>
    outcomes.find(outcome => outcome.target === target?.name && outcome.clients === clients);
  const ratios = plan.clients.flatMap(clients => {
    const [one, other] = [of(first, clients), of(second, clients)];
    if (one === undefined || other === undefined) return [];
    const p99 = one.latencyMs.p99 / other.latencyMs.p99;
    return [{ clients, perSecond: one.perSecond / other.perSecond, p99 }];
  });
  return {
    ...{ kvorum: kvorumVersion, node: process.version, cpus: cpus().length, at: new Date().toISOString(), plan },
    targets: targets.map(({ name, endpoints }) => ({ name, endpoints })),
    ...{ outcomes, ratios },
  };
}

/** A table for people. */
export function textOf({ plan, outcomes, ratios }: BenchReport): string {
  const unit = plan.operation.startsWith('watch') ? 'events/s' : 'calls/s';
  const head = ['clients', 'target', unit, 'mean', 'p50', 'p90', 'p99', 'p99.9', 'max', 'errors'];
  const rows = outcomes.map(({ clients, target, perSecond, latencyMs, failed }) => [
    count(clients),
    target,
    count(perSecond),
    ...[latencyMs.mean, latencyMs.p50, latencyMs.p90, latencyMs.p99, latencyMs.p999, latencyMs.max].map(milliseconds),
    errorsOf(failed),
  ]);
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map(row => (row[at] as string).length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => (at === 1 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)))
      .join('  ')
      .trimEnd();
  const lines = [head, ...rows].map(line);
  for (const { clients, perSecond, p99 } of ratios) {
    lines.push(
      `with ${count(clients)} clients the first has ${perSecond.toFixed(2)}x the throughput, ${p99.toFixed(2)}x the p99`,
    );
  }
  return `${plan.operation}\n${lines.join('\n')}\n`;
}

function errorsOf(failed: Readonly<Record<string, number>>): string {
  const parts = Object.entries(failed).map(([status, calls]) => `${count(calls)} of status ${status}`);
  return parts.length === 0 ? '0' : parts.join(', ');
}
