/**
 * What do metrics cost? Puts against a cluster that nobody scrapes, beside the same puts against one with
 * `--metrics extensive` whose three endpoints are scraped each second: pairs of phases, the two clusters in turn.
 *
 * Run: node dist/bench/metrics.js [pairs] [seconds a phase] [puts outstanding]
 *
 * What counts is the median of the ratios: of puts a second, and of the server's CPU time for a put, which says more on
 * a machine that does other things too.
 */

import { cpuMicros } from '../src/load/processes.js';
import { type Subject, startSubject } from '../test/support/subject.js';
import type { LoadResult } from './load/main.js';
import { runGenerator } from './scenarios.js';

const [pairs = 6, seconds = 4, outstanding = 100] = process.argv.slice(2, 5).map(Number);
const scrapeEveryMs = 1_000;

interface Phase {
  readonly perSecond: number;
  readonly microsPerPut: number;
}

async function phase(subject: Subject): Promise<Phase> {
  const before = cpuMicros(subject.pids) ?? 0;
  const { requests, perSecond } = await runGenerator<LoadResult>('main', [
    ...['--endpoints', subject.endpoints.join(','), '--operation', 'put', '--keys', 'random', '--key-space', '100000'],
    ...['--outstanding', String(outstanding), '--value-bytes', '256'],
    ...['--seconds', String(seconds), '--warmup', '0'],
  ]);
  return { perSecond, microsPerPut: ((cpuMicros(subject.pids) ?? 0) - before) / requests };
}

/** Scrapes all endpoints until it is stopped. */
function scrapeEach(subject: Subject): () => void {
  const timer = setInterval(() => {
    for (const endpoint of subject.endpoints) {
      fetch(`http://${endpoint}/metrics`).then(
        response => response.arrayBuffer(),
        () => undefined,
      );
    }
  }, scrapeEveryMs);
  return () => clearInterval(timer);
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const quiet = await startSubject('kvorum', { members: 3 });
const watched = await startSubject('kvorum', { members: 3, kvorumFlags: ['--metrics', 'extensive'] });
await phase(quiet);
await phase(watched);
const speeds: number[] = [];
const costs: number[] = [];
for (let pair = 1; pair <= pairs; pair++) {
  // Whoever comes second has the warmer machine: they take turns.
  const early = pair % 2 === 0 ? await phase(quiet) : undefined;
  const stop = scrapeEach(watched);
  const scraped = await phase(watched);
  stop();
  const without = early ?? (await phase(quiet));
  speeds.push(scraped.perSecond / without.perSecond);
  costs.push(scraped.microsPerPut / without.microsPerPut);
  const text = ({ perSecond, microsPerPut }: Phase) =>
    `${Math.round(perSecond)} puts/s, ${microsPerPut.toFixed(1)} us each`;
  console.log(`${pair}  not scraped ${text(without)}  |  scraped, extensive ${text(scraped)}`);
}
console.log(
  `median ratio: ${median(speeds).toFixed(3)} of the puts a second, ${median(costs).toFixed(3)} of the CPU time a put`,
);
await Promise.all([quiet.stop(), watched.stop()]);
