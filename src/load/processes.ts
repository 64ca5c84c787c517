/** What Linux's /proc tells about processes: CPU time and memory; undefined where there is none. */
import { readFileSync } from 'node:fs';

/** Microseconds of CPU so far, all processes together; the kernel's clock tick is 10 ms on every supported platform. */
export function cpuMicros(pids: readonly number[]): number | undefined {
  let ticks = 0;
  for (const pid of pids) {
    const stat = read(`/proc/${pid}/stat`);
    if (stat === undefined) return undefined;
    // Fields are counted from behind the program name, which may hold anything: utime and stime are 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

/** CPU time between two readings, when there were both. */
export function elapsed(before: number | undefined, after: number | undefined): number | undefined {
  return before === undefined || after === undefined ? undefined : after - before;
}

export interface Resident {
  /** VmRSS: what is in memory, files that are mapped included. */
  readonly bytes: number;
  /** Of it what no file backs: heaps and stacks. */
  readonly anonymousBytes: number;
}

/** Resident memory now, all processes together. */
export function resident(pids: readonly number[]): Resident | undefined {
  let [bytes, anonymousBytes] = [0, 0];
  for (const pid of pids) {
    const status = read(`/proc/${pid}/status`);
    const [all, anonymous] = [/^VmRSS:\s+(\d+) kB/m, /^RssAnon:\s+(\d+) kB/m].map(line => line.exec(status ?? '')?.[1]);
    if (all === undefined || anonymous === undefined) return undefined;
    bytes += Number(all) * 1024;
    anonymousBytes += Number(anonymous) * 1024;
  }
  return { bytes, anonymousBytes };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
