/**
 * `kvorum bench OPERATION`: how fast a cluster is, kvorum's own or any other etcd, on this machine.
 *
 *     targets: embedded (a cluster started for the run) | URLs     --vs: a second one, measured in turn
 *     for each number of clients, for each target: measure --live--> terminal
 *     text, ratios --> stdout     --json FILE: everything     --svg FILE: throughput and latency against the clients
 *
 * All of it goes over the wire, whoever the target is, so that two targets differ in nothing but themselves. The flags
 * have the names that etcd's own benchmark tool gives them, where it has them.
 */
import { writeFileSync } from 'node:fs';
import { StartError } from '../../host/data-directory.js';
import { type Printer, readArgs } from '../arguments.js';
import { type BenchPlan, benchOptions, benchUsage, planOf } from './flags.js';
import { LiveView } from './live.js';
import { measure, type Outcome } from './measure.js';
import { drawPicture } from './picture.js';
import { reportOf, textOf } from './report.js';
import { openTarget, type Target } from './target.js';

/** Runs the verb; the exit code: 1 when calls failed. Rejects with StartError. */
export async function benchCommand(args: readonly string[], print: Printer): Promise<number> {
  const { values, positionals } = readArgs(args, benchOptions);
  if (values.help) {
    print.out(benchUsage);
    return 0;
  }
  const plan = planOf(values, positionals);
  const targets: Target[] = [];
  try {
    for (const name of [plan.target, ...(plan.vs === undefined ? [] : [plan.vs])]) targets.push(await openTarget(name));
    const outcomes = await measureAll(plan, targets, print);
    const report = reportOf(plan, targets, outcomes);
    if (plan.json !== '-') print.out(textOf(report));
    writeTo(plan.json, `${JSON.stringify(report, undefined, 2)}\n`, print);
    writeTo(plan.svg, drawPicture(report), print);
    return outcomes.some(({ failed }) => Object.keys(failed).length > 0) ? 1 : 0;
  } catch (error) {
    throw error instanceof StartError ? error : new StartError(`the run failed: ${(error as Error).message}`);
  } finally {
    for (const target of targets) await target.close();
  }
}

/** Targets take turns, so that a machine that becomes slower is as unfair to both. */
async function measureAll(plan: BenchPlan, targets: readonly Target[], print: Printer): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const view = new LiveView(print, process.stderr.isTTY === true, plan);
  for (const clients of plan.clients) {
    for (const target of targets) {
      view.begin(target.name, clients);
      try {
        outcomes.push(await measure(plan, target, clients, progress => view.measuring(progress)));
      } finally {
        view.end();
      }
    }
  }
  return outcomes;
}

function writeTo(file: string | undefined, text: string, print: Printer): void {
  if (file === undefined) return;
  if (file === '-') return print.out(text);
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new StartError(`cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
