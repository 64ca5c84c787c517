/**
 * The command as its user runs it: a child process, its output, its signals, its refusals.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:http2';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const anyPorts = 'http://127.0.0.1:0,http://127.0.0.1:0,http://127.0.0.1:0';

const grpcHeaders = { 'content-type': 'application/grpc', te: 'trailers' };

let base = '';
let running: ChildProcess[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running = [];
  rmSync(base, { recursive: true, force: true });
});

interface Ready {
  readonly msg: string;
  readonly members: readonly { name: string; id: string; endpoint: string }[];
  readonly leader: string;
  readonly 'data-dir': string;
}

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn(process.execPath, [command, ...args], {
    env: { ...process.env, ...environment },
    cwd: base,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  return child;
}

/** Reads stderr line by line until etcd's ready line; fails when the process ends before. */
async function ready(child: ChildProcess): Promise<Ready> {
  let text = '';
  for await (const chunk of child.stderr as AsyncIterable<Buffer>) {
    text += chunk.toString();
    const line = text.split('\n').find(candidate => candidate.includes('ready to serve client requests'));
    if (line !== undefined && line.endsWith('}')) return JSON.parse(line) as Ready;
  }
  assert.fail(`ended before it was ready: ${text}`);
}

async function refusal(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = run(args, environment);
  let text = '';
  child.stderr?.on('data', chunk => {
    text += String(chunk);
  });
  const [code] = (await once(child, 'close')) as [number];
  assert.equal(code, 1, text);
  const lines = text.trimEnd().split('\n');
  assert.equal(lines.length, 1, text);
  return lines[0] as string;
}

test('starts, serves, and ends in order on SIGTERM', async () => {
  const child = run(['--data-dir', 'data', '--listen-client-urls', anyPorts]);
  const { members, leader, 'data-dir': dataDir } = await ready(child);
  assert.equal(members.length, 3);
  assert.equal(dataDir, 'data');
  assert.ok(members.some(member => member.name === leader));
  for (const { endpoint } of members) {
    const health = await fetch(`${endpoint}/health`);
    assert.deepEqual(await health.json(), { health: 'true', reason: '' });
    const version = (await (await fetch(`${endpoint}/version`)).json()) as Record<string, string>;
    assert.match(version.etcdserver ?? '', /^3\.6\./);
    assert.equal((await fetch(`${endpoint}/nothing`)).status, 404);
  }
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 0);
  assert.equal(existsSync(join(base, 'data', 'lock')), false);
});

test('one Ctrl-C that arrives twice, as under npm, ends it in order', async () => {
  const child = run(['--ephemeral', '--listen-client-urls', anyPorts]);
  const { 'data-dir': dataDir } = await ready(child);
  child.kill('SIGINT');
  child.kill('SIGINT');
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 0);
  assert.equal(existsSync(dataDir), false);
});

test('a second signal ends it at once, open calls or not', async () => {
  const child = run(['--data-dir=data', '--members=1', '--listen-client-urls=http://127.0.0.1:0']);
  const { members } = await ready(child);
  const session = connect(members[0]?.endpoint as string);
  session.on('error', () => undefined);
  const call = session.request({ ':method': 'POST', ':path': '/grpc.health.v1.Health/Watch', ...grpcHeaders });
  call.on('error', () => undefined);
  call.write(Buffer.alloc(5));
  await once(call, 'data');
  child.kill('SIGTERM');
  await delay(300);
  assert.equal(child.exitCode, null, 'the open call gets its grace');
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 143);
  session.destroy();
});

test('an ephemeral cluster leaves nothing behind', async () => {
  const child = run(['start', '--ephemeral', '--members=1', '--listen-client-urls=http://127.0.0.1:0']);
  const { 'data-dir': dataDir } = await ready(child);
  assert.ok(existsSync(dataDir));
  child.kill('SIGINT');
  await once(child, 'exit');
  assert.equal(existsSync(dataDir), false);
});

test('refusals are one line that names the fix, exit code 1', async () => {
  assert.match(await refusal(['--nonsense']), /unknown flag --nonsense/);
  assert.match(await refusal(['stop']), /unknown command stop/);
  assert.match(await refusal(['--election-timeout=300']), /should be at least as 5 times/);
  assert.match(await refusal(['--data-dir=a'], { ETCD_DATA_DIR: 'b' }), /conflicting environment variable/);
  assert.match(await refusal(['--data-dir=/proc/nowhere', `--listen-client-urls=${anyPorts}`]), /--data-dir/);
});

test('a port in use is named, and the data directory stays untouched', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    const urls = `http://127.0.0.1:0,http://127.0.0.1:0,http://127.0.0.1:${port}`;
    const line = await refusal(['--data-dir=data', `--listen-client-urls=${urls}`]);
    assert.match(line, new RegExp(`127\\.0\\.0\\.1:${port} is in use; .*--listen-client-urls`));
    assert.equal(existsSync(join(base, 'data', 'cluster.json')), false);
  } finally {
    server.close();
  }
});

test('a directory in use, or of another size, is refused', async () => {
  const child = run(['--data-dir=data', '--members=1', '--listen-client-urls=http://127.0.0.1:0']);
  await ready(child);
  assert.match(
    await refusal(['--data-dir=data', '--listen-client-urls=http://127.0.0.1:0']),
    new RegExp(`in use by process ${child.pid}`),
  );
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.match(
    await refusal(['--data-dir=data', `--listen-client-urls=${anyPorts}`]),
    /holds a cluster of 1 members, not 3/,
  );
  assert.match(
    await refusal(['--data-dir=data', '--listen-client-urls=http://127.0.0.1:0', '--initial-cluster-token=other']),
    /belongs to cluster [0-9a-f]+ \(token etcd-cluster\)/,
  );
});

test('--help and --version', async () => {
  for (const [flag, expected] of [
    ['--help', /--listen-client-urls/],
    ['-h', /--quota-backend-bytes/],
    ['--version', /^kvorum \d+\.\d+\.\d+\netcd API 3\.6\./],
  ] as const) {
    const child = run([flag]);
    let text = '';
    child.stdout?.on('data', chunk => {
      text += String(chunk);
    });
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 0);
    assert.match(text, expected);
  }
});
