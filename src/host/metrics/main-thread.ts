/**
 * How the main thread does: for how much of its time it was busy, and how late its timers are. Watched from the first
 * scrape on; nothing of it belongs to one member more than to another.
 */
import { performance } from 'node:perf_hooks';
import { Histogram } from '../../transport/metric-cells.js';

const everyMs = 50;

const { bounds } = Histogram.loopLag;
const counts = new Float64Array(bounds.length + 1);
let sum = 0;
let expectedMs = 0;
let timer: NodeJS.Timeout | undefined;

/** Seconds in which the event loop was not waiting, since the process began. */
export function mainBusySeconds(): number {
  return performance.eventLoopUtilization().active / 1_000;
}

/** The histogram of how late the main thread's timers were, in seconds. */
export function loopLag(): { readonly bounds: readonly number[]; readonly counts: Float64Array; readonly sum: number } {
  if (timer === undefined) {
    expectedMs = performance.now() + everyMs;
    timer = setInterval(observe, everyMs).unref();
  }
  return { bounds, counts, sum };
}

function observe(): void {
  const nowMs = performance.now();
  // Timers count whole milliseconds and may be a fraction early.
  const seconds = Math.max(0, nowMs - expectedMs) / 1_000;
  expectedMs = nowMs + everyMs;
  let bucket = 0;
  while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket += 1;
  counts[bucket] = (counts[bucket] as number) + 1;
  sum += seconds;
}
