/**
 * What is measured: endpoints of a cluster that runs, or a cluster that is started for the run, in a process of its own
 * (its threads must not share one with the load) with durable data in a temporary directory.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { StartError } from '../../host/data-directory.js';

export interface Target {
  readonly name: string;
  /** `host:port`, or with TLS `https://host:port` (whose certificate is not checked: the load is what is measured). */
  readonly endpoints: readonly string[];
  close(): Promise<void>;
}

/** `embedded`, or URLs with commas between them. Rejects with StartError. */
export async function openTarget(name: string): Promise<Target> {
  if (name === 'embedded') return await startEmbedded();
  const endpoints = name.split(',').map(url => {
    const address = url.replace(/^http:\/\//, '').replace(/\/$/, '');
    if (!/^(https:\/\/)?[^:/]+:\d+$/.test(address))
      throw new StartError(`${url} is no endpoint; name them like http://127.0.0.1:2379`);
    return address;
  });
  return { name, endpoints, close: async () => undefined };
}

const command = fileURLToPath(new URL('../main.js', import.meta.url));
const readyText = 'ready to serve client requests';

async function startEmbedded(): Promise<Target> {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-bench-'));
  const urls = ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'http://127.0.0.1:0'].join(',');
  const flags = ['start', '--data-dir', join(directory, 'data'), '--listen-client-urls', urls, '--log-format', 'json'];
  const child = spawn(process.execPath, [command, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = (): void => void child.kill('SIGKILL');
  process.once('exit', stop);
  try {
    const endpoints = await readyEndpoints(child);
    child.stderr?.resume();
    const close = async (): Promise<void> => {
      process.off('exit', stop);
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      rmSync(directory, { recursive: true, force: true });
    };
    return { name: 'embedded', endpoints, close };
  } catch (error) {
    stop();
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

async function readyEndpoints(child: ChildProcess): Promise<string[]> {
  let last = '';
  if (child.stderr === null) throw new StartError('the embedded cluster has no stderr');
  for await (const line of createInterface({ input: child.stderr })) {
    last = line;
    if (!line.includes(readyText)) continue;
    const { members } = JSON.parse(line) as { members: { endpoint: string }[] };
    return members.map(({ endpoint }) => endpoint.replace('http://', ''));
  }
  throw new StartError(`the embedded cluster did not start: ${last}`);
}
