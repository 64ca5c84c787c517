/**
 * faulty-disk itself: what a power cut keeps, what it may lose, what a failed sync does. Each test runs a few lines of
 * JavaScript on the faulty disk; they end by cutting the power themselves.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  buildFaultyDisk,
  type DiskEvent,
  type DiskFaults,
  exitPowerCut,
  faultyDiskArguments,
  readDiskEvents,
  requireFaultyDisk,
} from './faulty-disk.js';

const prelude = `
  import * as fs from 'node:fs';
  const cut = () => { process.kill(process.ppid, 'SIGUSR2'); setInterval(() => {}, 1000); };
  const sector = text => Buffer.alloc(512, text);
`;

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly events: readonly DiskEvent[];
  readonly has: (name: string) => boolean;
  readonly read: (name: string) => string;
}

/** Runs the script once for each seed, in a new directory, and looks at what is left. */
async function onFaultyDisk(
  script: string,
  look: (outcome: Outcome) => void,
  faults: Partial<DiskFaults> = {},
  seeds = 12,
): Promise<void> {
  const program = await buildFaultyDisk();
  const root = await mkdtemp(join(tmpdir(), 'kvorum-disk-'));
  try {
    for (let seed = 1; seed <= seeds; seed++) {
      const directory = join(root, `disk-${seed}`);
      const report = join(root, `report-${seed}`);
      await mkdir(directory);
      const command = [process.execPath, '--input-type=module', '-e', prelude + script];
      const args = faultyDiskArguments(directory, report, { seed, syncUs: [0, 0], ...faults }, command);
      const { code, output } = await new Promise<{ code: number; output: string }>(resolve => {
        execFile(program, args, { cwd: directory }, (error, stdout, stderr) => {
          resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr });
        });
      });
      look({
        ...{ code, output, events: readDiskEvents(report) },
        has: name => existsSync(join(directory, name)),
        read: name => readFileSync(join(directory, name), 'latin1'),
      });
    }
    assert.deepEqual(
      readdirSync(root).filter(name => name.includes('.aside')),
      [],
    );
  } finally {
    await rm(root, { recursive: true });
  }
}

/** The distinct results that the seeds led to. */
function collect(): { add: (result: string) => void; results: Set<string> } {
  const results = new Set<string>();
  return { add: result => results.add(result), results };
}

test('synced writes stay, the others are lost, kept or torn at sectors', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seen = collect();
  await onFaultyDisk(
    `const fd = fs.openSync('file', 'w');
     fs.writeSync(fd, Buffer.alloc(2048, 'a')); fs.fdatasyncSync(fd);
     fs.writeSync(fd, Buffer.alloc(1024, 'b'), 0, 1024, 512);
     fs.writevSync(fd, [sector('c'), sector('d')], 2048);
     cut();`,
    ({ code, read, output }) => {
      assert.equal(code, exitPowerCut, output);
      const text = read('file');
      const sectors = Array.from({ length: text.length / 512 }, (_, i) => text.slice(i * 512, (i + 1) * 512));
      for (const sector of sectors) assert.equal(sector, sector[0]?.repeat(512));
      const shape = sectors.map(sector => (sector[0] === '\0' ? '0' : sector[0])).join('');
      assert.match(shape, /^a[ab][ab]a([c0][d0]?)?$/);
      seen.add(shape);
    },
    {},
    16,
  );
  assert(/\baaaa0*\b/.test([...seen.results].join(' ')), 'nothing was lost whole');
  assert(seen.results.has('abbacd'), [...seen.results].join(' '));
  assert(
    [...seen.results].some(shape => /^a(ab|ba)a/.test(shape)),
    [...seen.results].join(' '),
  );
});

test('writes through O_DSYNC stay, whatever became of older ones', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seen = collect();
  await onFaultyDisk(
    `fs.writeFileSync('file', Buffer.alloc(1536, 'a'), { flush: true });
     const fd = fs.openSync('file', 'r+'); fs.fsyncSync(fd);
     const sync = fs.openSync('file', fs.constants.O_WRONLY | fs.constants.O_DSYNC);
     fs.writeSync(fd, Buffer.alloc(1536, 'b'), 0, 1536, 0);
     fs.writeSync(sync, sector('c'), 0, 512, 512);
     cut();`,
    ({ code, read, output }) => {
      assert.equal(code, exitPowerCut, output);
      const text = read('file');
      const shape = `${text[0]}${text[512]}${text[1024]}`;
      assert.match(shape, /^[ab]c[ab]$/);
      seen.add(shape);
    },
  );
  assert(seen.results.has('aca') && seen.results.size > 1, [...seen.results].join(' '));
});

test('sizes: unsynced growth and truncation may be lost, appends go to the end', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seen = collect();
  await onFaultyDisk(
    `const fd = fs.openSync('file', 'a'); fs.writeSync(fd, 'one'); fs.writeSync(fd, 'two'); fs.fsyncSync(fd);
     fs.truncateSync('file', 4);
     cut();`,
    ({ read }) => {
      assert.match(read('file'), /^onet(wo)?$/);
      seen.add(read('file'));
    },
  );
  assert.deepEqual([...seen.results].sort(), ['onet', 'onetwo']);
});

test('names: a prefix of the operations survives, at least to the last synced one', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seen = collect();
  await onFaultyDisk(
    `fs.writeFileSync('old', 'old', { flush: true });
     fs.writeFileSync('new', 'new'); const fd = fs.openSync('new', 'r+'); fs.fsyncSync(fd); fs.closeSync(fd);
     const old = fs.openSync('old', 'r+'); fs.fsyncSync(old); fs.closeSync(old);
     fs.renameSync('new', 'old');
     fs.mkdirSync('sub'); fs.writeFileSync('sub/file', '');
     fs.unlinkSync('sub/file'); fs.rmdirSync('sub');
     cut();`,
    ({ code, has, read, output }) => {
      assert.equal(code, exitPowerCut, output);
      const renamed = !has('new');
      assert.equal(read('old'), renamed ? 'new' : 'old');
      if (!renamed) assert.equal(read('new'), 'new');
      assert(renamed || !has('sub'), 'later operations survived an earlier one');
      seen.add([renamed ? 'renamed' : '', has('sub') ? 'sub' : '', has('sub/file') ? 'file' : ''].join());
    },
    {},
    16,
  );
  assert(
    seen.results.has(',,') && seen.results.has('renamed,,') && seen.results.size >= 3,
    [...seen.results].join(' '),
  );
  await onFaultyDisk(
    `fs.writeFileSync('new', 'new'); const fd = fs.openSync('new', 'r+'); fs.fsyncSync(fd);
     fs.renameSync('new', 'old'); fs.fsyncSync(fs.openSync('.', 'r'));
     cut();`,
    ({ read, has }) => {
      assert.equal(read('old'), 'new');
      assert(!has('new'));
    },
    {},
    6,
  );
});

test('a failed sync loses its writes for good, and a later sync of the open file is reported', async t => {
  if (!(await requireFaultyDisk(t))) return;
  await onFaultyDisk(
    `const fd = fs.openSync('file', 'w'); fs.writeSync(fd, 'first'); fs.fsyncSync(fd);
     fs.writeSync(fd, ' second');
     try { fs.fdatasyncSync(fd); } catch (error) { console.log(error.code); }
     fs.writeSync(fd, ' third'); fs.fdatasyncSync(fd);
     cut();`,
    ({ output, read, events }) => {
      assert.equal(output.trim(), 'EIO');
      assert.equal(read('file'), `first${'\0'.repeat(' second'.length)} third`);
      assert.deepEqual(
        events.map(event => event.event),
        ['sync-failed', 'sync-after-failure', 'cut'],
      );
    },
    { failSyncAt: 2 },
    4,
  );
});

test('a lying disk keeps nothing, a cut at a change comes exactly there', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seen = collect();
  const script = `const fd = fs.openSync('file', 'w');
    for (const text of ['a', 'b', 'c']) { fs.writeSync(fd, text); fs.fsyncSync(fd); }
    cut();`;
  await onFaultyDisk(script, ({ has, read }) => seen.add(has('file') ? read('file') : ''), { lying: true });
  assert(seen.results.has(''), [...seen.results].join(' '));
  // Open, then write and sync three times: at the fifth event the second sync has not happened.
  await onFaultyDisk(script, ({ read }) => assert.match(read('file'), /^a[b\0]?$/), { cutAt: 5 });
});
