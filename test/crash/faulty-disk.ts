/**
 * Builds faulty-disk (the C program beside this file, see faulty-disk/disk.h) and speaks its command line.
 *
 * It is compiled once for each state of its sources, into node_modules/.cache; a test process that finds it there
 * compiles nothing. Linux only: it needs seccomp user notification and gcc.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { missingPeer } from '../support/etcd.js';
import { packageRoot } from '../support/package-root.js';

export interface DiskFaults {
  readonly seed: number;
  /** The power goes at this change or sync, counted from 1. */
  readonly cutAt?: number;
  /** This sync (of paths that contain `failMatch`) fails with EIO. */
  readonly failSyncAt?: number;
  readonly failForever?: boolean;
  readonly failMatch?: string;
  /** A sync takes this long, in microseconds. */
  readonly syncUs?: readonly [number, number];
  /** Syncs make nothing durable: the disk that the tests must catch. */
  readonly lying?: boolean;
}

/** What faulty-disk reports, one object an event. */
export type DiskEvent =
  | { readonly event: 'mapped-writable'; readonly path: string }
  | { readonly event: 'sync-failed'; readonly sync: number; readonly path: string }
  /** An open file whose sync had failed was synced again: a success then proves nothing. */
  | { readonly event: 'sync-after-failure'; readonly path: string }
  | { readonly event: 'harness-failed'; readonly what: string }
  | {
      readonly event: 'cut';
      /** Changes that were not durable, and what became of them. */
      readonly pending: number;
      readonly kept: number;
      readonly torn: number;
      readonly lost: number;
      readonly namesPending: number;
      readonly namesLost: number;
    };

/** Exit codes of faulty-disk itself. */
export const exitPowerCut = 75;
export const exitHarnessFailed = 97;

const run = promisify(execFile);
const sources = join(packageRoot, 'test', 'crash', 'faulty-disk');
const cache = join(packageRoot, 'node_modules', '.cache', 'faulty-disk');

let built: Promise<string> | undefined;

/** The path of the compiled program. Rejects with the compiler's words when it cannot be built. */
export function buildFaultyDisk(): Promise<string> {
  built ??= build();
  return built;
}

/**
 * Whether the faulty disk works on this machine: Linux, gcc, and a kernel that lets a process answer another's calls.
 * Where it does not, that is a failure under CI and a loud skip elsewhere, as with any missing peer.
 */
export async function requireFaultyDisk(test: TestContext): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'kvorum-disk-'));
  try {
    await run(await buildFaultyDisk(), ['--directory', directory, '--', process.execPath, '--version']);
    return true;
  } catch (error) {
    missingPeer(test, `faulty-disk (${String(error).split('\n', 1)[0]})`);
    return false;
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function build(): Promise<string> {
  const files = (await readdir(sources)).sort().map(name => join(sources, name));
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(file));
  const program = join(cache, `faulty-disk-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(program)) return program;
  await mkdir(cache, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  const units = files.filter(file => file.endsWith('.c'));
  await run('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', fresh, ...units]);
  await rename(fresh, program); // Another test process may have built it meanwhile: the same bytes.
  return program;
}

/** The arguments that run `command` on a disk with these faults. */
export function faultyDiskArguments(
  directory: string,
  report: string,
  faults: DiskFaults,
  command: readonly string[],
): string[] {
  const { seed, cutAt, failSyncAt, failForever, failMatch, syncUs, lying } = faults;
  return [
    ...['--directory', directory, '--report', report, '--seed', String(seed)],
    ...(cutAt === undefined ? [] : ['--cut-at', String(cutAt)]),
    ...(failSyncAt === undefined ? [] : ['--fail-sync-at', String(failSyncAt)]),
    ...(failForever === true ? ['--fail-forever'] : []),
    ...(failMatch === undefined ? [] : ['--fail-match', failMatch]),
    ...(syncUs === undefined ? [] : ['--sync-us', syncUs.join(':')]),
    ...(lying === true ? ['--lying'] : []),
    '--',
    ...command,
  ];
}

export function readDiskEvents(report: string): DiskEvent[] {
  if (!existsSync(report)) return [];
  const lines = readFileSync(report, 'utf8').split('\n');
  return lines.filter(line => line !== '').map(line => JSON.parse(line) as DiskEvent);
}
