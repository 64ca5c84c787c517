/**
 * One clock for all threads of the process: performance.now() counts from the start of each thread, the system's
 * monotonic clock from one moment. Threads that hand each other a time use this one.
 */
import { hrtime } from 'node:process';

/** What lies between the two readings makes the difference too small: the greatest of some is the truest. */
const samples = 8;

/** What to add to this thread's performance.now(), in milliseconds. */
export const sharedClockOffsetMs = Math.max(...Array.from({ length: samples }, differenceMs));

function differenceMs(): number {
  const systemMs = Number(hrtime.bigint()) / 1e6;
  return systemMs - performance.now();
}

/** Monotonic milliseconds, the same in every thread of this process. */
export function sharedClockMs(): number {
  return sharedClockOffsetMs + performance.now();
}
