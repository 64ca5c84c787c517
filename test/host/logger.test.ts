/**
 * Logs in their targets: etcd's keys, both formats, and targets that are slow, full or gone.
 */
import assert from 'node:assert/strict';
import { execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, test } from 'node:test';
import { logMemberRecord, openLog } from '../../src/host/logger.js';

const module = new URL('../../src/host/logger.js', import.meta.url).href;

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** The records of a file, their times checked and taken out. */
function records(file: string): unknown[] {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map(line => {
    const { ts, ...rest } = JSON.parse(line) as { ts: string };
    assert.match(ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    return rest;
  });
}

test("json: etcd's keys, errors as text with their stack, members' records beside the host's", () => {
  const file = join(base, 'log');
  const { logger, close } = openLog({ level: 'info', format: 'json', outputs: [file] });
  const failure = new Error('no space left');
  logger.info({ 'cluster-id': 'cdf818194e3a8c32' }, 'started');
  logger.debug('unheard');
  logger.error({ err: failure, took: '3ms' }, 'backup failed');
  const record = { level: 'warn', msg: 'lost leader', term: 4 };
  logMemberRecord(logger.child({ member: 'm1' }), Buffer.from(JSON.stringify(record)));
  close();
  assert.deepEqual(records(file), [
    { level: 'info', 'cluster-id': 'cdf818194e3a8c32', msg: 'started' },
    { level: 'error', took: '3ms', error: 'no space left', stacktrace: failure.stack, msg: 'backup failed' },
    { level: 'warn', member: 'm1', term: 4, msg: 'lost leader' },
  ]);
});

test('console: a line a person reads, without colours in a file; several targets get the same records', () => {
  const [one, two] = [join(base, 'one'), join(base, 'two')];
  const { logger, close } = openLog({ level: 'debug', format: 'console', outputs: [one, two] });
  logger.info({ term: 2 }, 'became leader');
  close();
  assert.match(readFileSync(one, 'utf8'), /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: became leader \{"term":2\}\n$/);
  assert.equal(readFileSync(two, 'utf8'), readFileSync(one, 'utf8'));
});

test('outputs that cannot be are refused with one line', () => {
  const open = (...outputs: string[]) => openLog({ level: 'info', format: 'json', outputs });
  assert.throws(() => open('default', 'stdout'), /multi logoutput for "default" is not supported yet/);
  assert.throws(() => open('systemd/journal'), /systemd\/journal is not supported/);
  assert.throws(() => open(join(base, 'no', 'such', 'log')), /^StartError: cannot open the log output .*: ENOENT$/);
});

test('a full disk costs log records, nothing else', { skip: !existsSync('/dev/full') }, () => {
  const { logger, close } = openLog({ level: 'info', format: 'json', outputs: ['/dev/full'] });
  for (let count = 0; count < 1_000; count += 1) logger.info({ filler: 'x'.repeat(10_000) }, 'into the void');
  close();
});

/**
 * Runs a program that has a `logger` on stderr, a pipe as a shell makes it, which nobody reads until the program has
 * written to stdout.
 */
async function run(program: string): Promise<{ lines: string[]; code: number | null }> {
  const pipe = join(base, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(pipe, constants.O_WRONLY);
  const source = `
    const { openLog } = await import(${JSON.stringify(module)});
    const { logger } = openLog({ level: 'info', format: 'json', outputs: ['default'] });
    ${program}`;
  const stdio: StdioOptions = ['ignore', 'pipe', writer];
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio });
  closeSync(writer);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  await once(child.stdout as Readable, 'data');
  const chunks: Buffer[] = [];
  const stderr = new Socket({ fd: reader, writable: false });
  for await (const chunk of stderr) chunks.push(chunk as Buffer);
  stderr.destroy();
  (child.stdout as Readable).destroy();
  const [code] = await exited;
  return { lines: Buffer.concat(chunks).toString().trimEnd().split('\n'), code };
}

test('a reader that does not read stops nobody; what was too much is counted', async () => {
  const { lines, code } = await run(`
    const filler = 'x'.repeat(10_000);
    for (let count = 0; count < 1_000; count += 1) logger.info({ count, filler }, 'much');
    setTimeout(() => process.stdout.write('still going'), 10);
    const timer = setInterval(() => {
      logger.info('more');
    }, 5);
    setTimeout(() => clearInterval(timer), 500);`);
  assert.equal(code, 0);
  const read = lines.map(line => JSON.parse(line) as { msg: string; dropped?: number });
  const dropped = read.reduce((sum, record) => sum + (record.dropped ?? 0), 0);
  const much = read.filter(({ msg }) => msg === 'much').length;
  assert.ok(dropped > 0);
  assert.ok(much > 0 && much + dropped >= 1_000, `${much} came, ${dropped} were counted`);
});

test('what was logged just before a crash is written', async () => {
  const { lines, code } = await run(`
    for (let count = 0; count < 100; count += 1) logger.info({ count }, 'last words');
    process.stdout.write('now');
    throw new Error('unforeseen');`);
  assert.equal(code, 1);
  const counts = lines
    .filter(line => line.includes('last words'))
    .map(line => (JSON.parse(line) as { count: number }).count);
  assert.deepEqual(
    counts,
    Array.from({ length: 100 }, (_, at) => at),
  );
});
