/**
 * A server under test as a child process: started, awaited by a line of its log, ended without trace.
 *
 * Children and directories are registered, so that they are gone when this process ends for whatever reason.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

export interface ServerProcess {
  readonly pid: number;
  /** Kills the process and resolves when it has ended. Its data is thrown away: a graceful end would save nothing. */
  end(): Promise<void>;
}

const startTimeoutMs = 30_000;
const logTailLines = 30;

const living = new Set<ChildProcessByStdio<null, null, Readable>>();
const directories = new Set<string>();

process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/**
 * Starts a program and resolves, with what `ready` made of it, at the first line on its stderr for which `ready` gives
 * something. Rejects with the last log lines when it ends before that or takes too long. A server that ends later
 * without being asked to leaves its last log lines on stderr. `variables` are added to its environment.
 */
export async function startServer<T>(
  name: string,
  program: string,
  flags: readonly string[],
  ready: (line: string) => T | undefined,
  variables: NodeJS.ProcessEnv = {},
): Promise<{ server: ServerProcess; ready: T }> {
  const env = { ...environmentWithout('ETCD_'), ...variables };
  const child = spawn(program, flags, { stdio: ['ignore', 'ignore', 'pipe'], env });
  living.add(child);
  let ending = false;
  let serving = false;
  const tail: string[] = [];
  const closed = once(child, 'close').then(() => {
    living.delete(child);
    const how = child.signalCode ?? `code ${child.exitCode}`;
    if (serving && !ending)
      process.stderr.write(`${name} ended by itself (${how}); its last lines:\n${tail.join('\n')}\n`);
    return how;
  });
  const end = async () => {
    ending = true;
    child.kill('SIGKILL');
    await closed;
  };
  try {
    const value = await new Promise<T>((resolve, reject) => {
      const giveUp = (reason: string) => reject(new Error(`${name}: ${reason}\n${tail.join('\n')}`));
      const timer = setTimeout(() => giveUp(`not ready after ${startTimeoutMs} ms`), startTimeoutMs);
      createInterface({ input: child.stderr }).on('line', line => {
        tail.push(line.slice(0, 2000));
        if (tail.length > logTailLines) tail.shift();
        const result = ready(line);
        if (result === undefined) return;
        clearTimeout(timer);
        serving = true;
        resolve(result);
      });
      closed.then(
        how => {
          clearTimeout(timer);
          giveUp(`ended before it was ready (${how})`);
        },
        (error: Error) => {
          living.delete(child);
          clearTimeout(timer);
          giveUp(error.message);
        },
      );
    });
    return { server: { pid: child.pid ?? 0, end }, ready: value };
  } catch (error) {
    if (child.pid !== undefined) await end();
    throw error;
  }
}

/** A fresh directory that is removed by the returned function, or when this process ends. */
export async function ownDirectory(
  prefix: string,
  parent = tmpdir(),
): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(parent, prefix));
  directories.add(path);
  const remove = async () => {
    await rm(path, { recursive: true, force: true });
    directories.delete(path);
  };
  return { path, remove };
}

/** This process's environment without the variables that would change the behaviour of the programs under test. */
export function environmentWithout(prefix: 'ETCD_' | 'ETCDCTL_'): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith(prefix)));
}
