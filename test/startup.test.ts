/**
 * What a plain start loads. Modules are most of a start (three threads load theirs at once, half a millisecond each), so
 * each thread has a budget: who needs more either raises it here, knowingly, or loads what is new when it is needed.
 *
 * V8's coverage of a process lists every script of each of its threads.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const budgets = {
  'main thread': { modules: 140, packages: ['comlink', 'lmdb', 'pino'] },
  'member thread': { modules: 162, packages: ['comlink', 'lmdb'] },
} as const;

/** Of package.json; what those bring along is theirs. */
const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly dependencies: Record<string, string>;
};

/** The scripts of each thread of a server that starts, serves and stops. */
async function scriptsOfStart(directory: string): Promise<string[][]> {
  const main = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
  const flags = ['--ephemeral', '--members', '1', '--listen-client-urls', 'http://127.0.0.1:0'];
  const env = { ...process.env, NODE_V8_COVERAGE: directory };
  const server = spawn(process.execPath, [main, ...flags], { stdio: ['ignore', 'ignore', 'pipe'], env });
  createInterface({ input: server.stderr }).on('line', line => {
    if (line.includes('ready to serve client requests')) server.kill('SIGTERM');
  });
  const [code] = (await once(server, 'close')) as [number | null];
  assert.equal(code, 0);
  return readdirSync(directory).map(name => {
    const { result } = JSON.parse(readFileSync(join(directory, name), 'utf8')) as { result: { url: string }[] };
    return result.map(({ url }) => url).filter(url => url.startsWith('file:'));
  });
}

test('a plain start loads no more than it needs', async context => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-startup-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const threads = await scriptsOfStart(directory);
  assert.equal(threads.length, 2);
  for (const scripts of threads) {
    const thread = scripts.some(url => url.endsWith('/src/member/member.js')) ? 'member thread' : 'main thread';
    const { modules, packages } = budgets[thread];
    const own = scripts.filter(url => !url.includes('/node_modules/')).length;
    assert.ok(own <= modules, `the ${thread} loads ${own} modules, not ${modules} or fewer`);
    const loaded = Object.keys(dependencies).filter(name =>
      scripts.some(url => url.includes(`/node_modules/${name}/`)),
    );
    assert.deepEqual(loaded, packages, thread);
  }
});
