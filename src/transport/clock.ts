/**
 * One clock for all threads of the process: performance.now() counts from the start of each thread, the system's
 * monotonic clock from one moment. Threads that hand each other a time use this one.
 */
import { hrtime } from 'node:process';

const startedMs = Number(hrtime.bigint()) / 1e6 - performance.now();

/** Monotonic milliseconds, the same in every thread of this process. */
export function sharedClockMs(): number {
  return startedMs + performance.now();
}
