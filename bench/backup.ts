/**
 * What does a backup cost, beside etcd 3.5 on the same data? One member each, durable, one after the other:
 *   - save: `etcdctl snapshot save` against either; the second one counts, a pool of threads is warm then;
 *   - restore: each side's own command, process start included; kvorum also into three members, all at once;
 *   - puts of one client before and during a save: median and greatest.
 *
 * Run: node dist/bench/backup.js [records] [bytes a value] [directory]
 *
 * 300,000 records of 3,000 bytes make about a gigabyte.
 */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connect, type EtcdClient } from '../src/index.js';
import { findEtcd } from '../test/support/etcd.js';
import { ownDirectory } from '../test/support/server-process.js';
import { startSubject } from '../test/support/subject.js';

const run = promisify(execFile);
const records = Number(process.argv[2] ?? '30000');
const value = 'v'.repeat(Number(process.argv[3] ?? '3000'));
const command = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const outstanding = 200;
const quietMs = 2_000;

const directory = await ownDirectory('kvorum-bench-', process.argv[4]);
const binaries = await findEtcd('3.5');
if (binaries === undefined) throw new Error('etcd 3.5 is not available on this machine');
console.log(`${records} records with values of ${value.length} bytes`);

for (const family of ['kvorum', 'etcd-3.5'] as const) {
  const subject = await startSubject(family, { members: 1, parentDirectory: directory.path });
  const endpoint = subject.endpoints[0] as string;
  const file = join(directory.path, `${family}.db`);
  const client = connect({ endpoints: endpoint });
  await fill(client);
  const { dbSizeBytes } = await client.status();
  const before = await putsDuring(client, new Promise(resolve => setTimeout(resolve, quietMs)));
  await save(endpoint, file);
  const during = await putsDuring(client, save(endpoint, file));
  const megabytes = statSync(file).size / 1e6;
  report(family, 'save', during.tookMs, megabytes);
  console.log(`${family.padEnd(9)} database ${(dbSizeBytes / 1e6).toFixed(0)} MB, file ${megabytes.toFixed(0)} MB`);
  for (const [when, { medianMs, maxMs }] of Object.entries({ before, during })) {
    console.log(`${family.padEnd(9)} put ${when} a save: ${medianMs.toFixed(2)} ms, at most ${maxMs.toFixed(0)} ms`);
  }
  client.close();
  await subject.stop();
  if (family === 'kvorum') {
    for (const members of [1, 3]) {
      const flags = ['--data-dir', join(directory.path, `kvorum-${members}`), '--members', String(members)];
      const tookMs = await timed(() => run(process.execPath, [command, 'snapshot', 'restore', file, ...flags]));
      report(family, `restore into ${members}`, tookMs, megabytes);
    }
  } else {
    const flags = ['snapshot', 'restore', file, '--data-dir', join(directory.path, 'etcd-1')];
    const tookMs = await timed(() => run(binaries.control, flags, { env: { ...process.env, ETCDCTL_API: '3' } }));
    report(family, 'restore into 1', tookMs, megabytes);
  }
}
await directory.remove();

async function fill(client: EtcdClient): Promise<void> {
  for (let at = 0; at < records; at += outstanding) {
    await Promise.all(Array.from({ length: outstanding }, (_, more) => client.put(`key-${at + more}`, value)));
  }
}

async function save(endpoint: string, file: string): Promise<void> {
  const args = ['--endpoints', endpoint, 'snapshot', 'save', file];
  await run((binaries as { control: string }).control, args, { env: { ...process.env, ETCDCTL_API: '3' } });
}

/** What one client that puts all the time notices of some work. */
async function putsDuring(client: EtcdClient, work: Promise<unknown>) {
  let tookMs = 0;
  const startedMs = performance.now();
  const done = work.then(() => {
    tookMs = performance.now() - startedMs;
  });
  const times: number[] = [];
  while (tookMs === 0) times.push(await timed(() => client.put('latency', 'x')));
  await done;
  times.sort((a, b) => a - b);
  return { tookMs, medianMs: times[times.length >> 1] ?? 0, maxMs: times.at(-1) ?? 0 };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function report(family: string, what: string, tookMs: number, megabytes: number): void {
  const rate = (megabytes / (tookMs / 1000)).toFixed(0);
  console.log(`${family.padEnd(9)} ${what.padEnd(16)} ${rate.padStart(5)} MB/s ${(tookMs / 1000).toFixed(2)} s`);
}
