/**
 * R24 (etcd #16596: a power cut in the first half second, and the server never started again): the power goes at every
 * few changes of a first start, what was not synced is lost or torn, and the next start founds the member all the same.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { EntryType } from '../../src/member/raft/types.js';
import { temporaryDirectory } from '../member/log/support.js';
import { buildFaultyDisk, exitPowerCut, faultyDiskArguments, requireFaultyDisk } from './faulty-disk.js';
import { start } from './first-start.js';

const program = join(import.meta.dirname, 'first-start.js');
/** So that a run takes seconds; the first cut is drawn, so that runs meet all of them. */
const changesBetweenCuts = 5;

/** Whether the power went before the start was over. */
async function cutFirstStart(root: string, seed: number, cutAt: number): Promise<boolean> {
  const disk = join(root, 'disk');
  await mkdir(disk, { recursive: true });
  const command = [process.execPath, program, join(disk, 'data')];
  const args = faultyDiskArguments(disk, join(root, 'report'), { seed, cutAt }, command);
  const child = spawn(await buildFaultyDisk(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const [code] = await once(child, 'close');
  assert.ok(code === exitPowerCut || code === 0, `${code} ${errors}`);
  return code === exitPowerCut;
}

/** Starts and has an entry committed. The number of entries in the log. */
async function startAndAppend(path: string): Promise<number> {
  const { directory, member } = start(path);
  const { raft, log, state } = member;
  const work = () => {
    while (raft.hasReady()) {
      const ready = raft.ready();
      log.append(ready.entries, ready.hardState, ready.mustSync);
      for (const entry of ready.committedEntries) state.applier.applyEmpty(entry);
      raft.advance(ready);
    }
  };
  work();
  raft.campaign();
  work();
  raft.propose([{ type: EntryType.Normal, data: Buffer.from('x') }]);
  work();
  const applied = state.store.appliedIndex;
  state.store.commit();
  await Promise.all([state.store.close(), log.close()]);
  directory.close();
  return applied;
}

test('R24: a power cut at any change of a first start leaves a directory that starts (etcd #16596)', async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const root = await temporaryDirectory(t);
  let cuts = 0;
  for (let cutAt = 1 + (seed % changesBetweenCuts); ; cutAt += changesBetweenCuts) {
    const own = join(root, `${cutAt}`);
    const isCut = await cutFirstStart(own, seed + cutAt, cutAt);
    try {
      // The founding entry, an election and an entry; then two more.
      assert.deepEqual(
        [await startAndAppend(join(own, 'disk/data')), await startAndAppend(join(own, 'disk/data'))],
        [3, 5],
      );
    } catch (error) {
      throw new Error(`cut at ${cutAt}, seed ${seed}: ${error}`, { cause: error });
    }
    if (!isCut) break;
    cuts += 1;
  }
  t.diagnostic(`${cuts} cuts`);
  assert.ok(cuts > 8, `${cuts} cuts`);
});
