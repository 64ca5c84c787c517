/**
 * The raft log alone, its real files and its real LMDB, through power cuts: after each the log holds exactly what was
 * acknowledged, with or without the one operation that was under way. Much faster than a whole server, so a suite can
 * afford many cuts at exact places, the first of them while the directory is made.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.js';
import type { RaftLog } from '../../src/member/log/raft-log.js';
import { buildFaultyDisk, exitPowerCut, faultyDiskArguments, requireFaultyDisk } from './faulty-disk.js';
import { entryOf, hardStateOf, type Operation, openLog } from './log-writer.js';

const directories = 3;
const cutsPerDirectory = 8;
const writer = join(import.meta.dirname, 'log-writer.js');

/** What the log must hold: the term of each entry, the hard state. */
class Model {
  readonly terms = new Map<number, number>();
  last = 0;
  term = 0;
  commit = 0;
  compactedMax = 0;

  apply({ from, to, term, commit, compactTo }: Operation): void {
    for (let index = from; index <= to; index++) this.terms.set(index, term);
    if (to >= from) this.last = to;
    this.term = term;
    this.commit = commit;
    this.compactedMax = Math.max(this.compactedMax, compactTo);
  }

  copy(): Model {
    const copy = new Model();
    for (const [index, term] of this.terms) copy.terms.set(index, term);
    return Object.assign(copy, {
      last: this.last,
      term: this.term,
      commit: this.commit,
      compactedMax: this.compactedMax,
    });
  }
}

const bootstrap: Operation = { from: 1, to: 1, term: 1, commit: 1, compactTo: 0 };

/** Why the log is not what the model says; undefined when it is. */
function difference(log: RaftLog, model: Model): string | undefined {
  const { hardState } = log.initialState();
  const expected = hardStateOf(model.term, model.commit);
  if (hardState.term !== expected.term || hardState.vote !== expected.vote || hardState.commit !== expected.commit) {
    const { term, vote, commit } = hardState;
    return `hard state is ${term}/${vote}/${commit}, not ${expected.term}/${expected.vote}/${expected.commit}`;
  }
  if (log.lastIndex() !== model.last) return `ends at ${log.lastIndex()}, not at ${model.last}`;
  if (log.firstIndex() > model.compactedMax + 1) return `begins at ${log.firstIndex()}, after ${model.compactedMax}`;
  if (log.lastIndex() < log.firstIndex()) return undefined;
  for (const entry of log.entries(log.firstIndex(), log.lastIndex() + 1, Number.MAX_SAFE_INTEGER)) {
    const { data } = entryOf(entry.index, model.terms.get(entry.index)!);
    if (entry.term !== model.terms.get(entry.index)) return `entry ${entry.index} has term ${entry.term}`;
    if (!Buffer.from(entry.data).equals(data)) return `entry ${entry.index} has other data`;
  }
  return undefined;
}

/** One life of the writer, until the power goes. Returns the model without and with the operation under way. */
async function live(directory: string, report: string, model: Model, seed: number, cutAt: number) {
  const program = await buildFaultyDisk();
  const command = [process.execPath, writer, directory, String(seed)];
  const args = faultyDiskArguments(directory, report, { seed, cutAt, syncUs: [0, 100] }, command);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const closed = once(child, 'close');
  let underWay: Operation | undefined = model.last === 0 ? bootstrap : undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Operation & { readonly opened?: true; readonly done?: true };
    if (said.opened === undefined && said.done === undefined) {
      underWay = said;
    } else if (underWay !== undefined) {
      model.apply(underWay);
      underWay = undefined;
    }
  }
  await closed;
  assert.equal(child.exitCode, exitPowerCut, errors);
  if (underWay === undefined) return { without: model, withIt: model };
  const withIt = model.copy();
  withIt.apply(underWay);
  return { without: model, withIt };
}

/** Opens the log in this process and says which of the two models it holds. */
async function judge(directory: string, without: Model, withIt: Model): Promise<Model> {
  const log = openLog(directory);
  try {
    if (without.last === 0 && !log.bootstrapped) return without;
    const reasons = [difference(log, without), difference(log, withIt)];
    assert(reasons.includes(undefined), `the log holds neither state: ${reasons.join('; ')}`);
    return reasons[0] === undefined ? without : withIt;
  } finally {
    await log.close();
  }
}

test(`a raft log holds what it acknowledged after ${directories * cutsPerDirectory} power cuts`, async t => {
  if (!(await requireFaultyDisk(t))) return;
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const prng = new Prng(seed);
  let entries = 0;
  for (let i = 0; i < directories; i++) {
    const root = await mkdtemp(join(tmpdir(), 'kvorum-log-'));
    const directory = join(root, 'log');
    await mkdir(directory);
    let model = new Model();
    for (let cut = 0; cut < cutsPerDirectory; cut++) {
      // The first cuts fall into the making of the directory and the first records.
      const cutAt = 1 + prng.nextBelow(cut === 0 ? 60 : 1_000);
      try {
        const { without, withIt } = await live(directory, join(root, 'report'), model, prng.nextUint32(), cutAt);
        model = (await judge(directory, without, withIt)).copy();
      } catch (error) {
        throw new Error(`seed ${seed}, cut ${cut} at ${cutAt}, kept in ${root}: ${error}`, { cause: error });
      }
    }
    entries += model.last;
    await rm(root, { recursive: true });
  }
  t.diagnostic(`${entries} entries`);
  assert(entries > 0, 'nothing was ever acknowledged');
});
