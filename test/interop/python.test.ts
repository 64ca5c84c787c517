/**
 * Python programs written for etcd (test/interop/python) run unchanged: the client of Debian's python3-etcd3, which
 * speaks gRPC through the C core, and that of python3-etcd3gw, which speaks to the JSON gateway. What they print has to
 * be the same with every server; ids, times and sizes they do not print.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { Family } from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { packageRoot } from '../support/package-root.js';
import { requirePython } from '../support/peers.js';
import { startSubject } from '../support/subject.js';

const reference: Family = 'etcd-3.4';
const compared: readonly Family[] = ['etcd-3.5', 'kvorum'];
const endedWithinMs = 60_000;

test('Python programs print the same with every server', { concurrency: true }, async t => {
  const python = requirePython(t);
  if (python === undefined) return;
  for (const release of ['3.4', '3.5'] as const) if ((await requireEtcd(t, release)) === undefined) return;
  const scripts = ['grpc_client.py', 'gateway_client.py'].map(script =>
    t.test(script, async () => {
      const transcripts = [reference, ...compared].map(family => transcript(python, script, family));
      const [expected, ...others] = await Promise.all(transcripts);
      for (const [i, lines] of others.entries()) assert.deepEqual(lines, expected, `${compared[i]} and ${reference}`);
    }),
  );
  await Promise.all(scripts);
});

/** What the script prints with a new cluster of one member: there the servers' revisions are the same. */
async function transcript(python: string, script: string, family: Family): Promise<string[]> {
  const subject = await startSubject(family, { members: 1 });
  try {
    const path = join(packageRoot, 'test', 'interop', 'python', script);
    const [host, port] = subject.endpoints[0]!.split(':') as [string, string];
    const { stdout } = await promisify(execFile)(python, ['-B', path, host, port], { timeout: endedWithinMs });
    return stdout.split('\n');
  } catch (error) {
    throw new Error(`${family}: ${(error as Error).message}\n${(error as { stdout?: string }).stdout}`);
  } finally {
    await subject.stop();
  }
}
