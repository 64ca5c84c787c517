/**
 * A raft log alone on a disk, driven by chance until the power goes: the program of log-power-cut.test.ts.
 *
 *   node log-writer.js DIRECTORY SEED
 *
 * Before each operation it prints what it is about to do, after it that it is done: two lines of JSON.
 */
import { writeSync } from 'node:fs';
import { Prng } from '../../src/base/prng.js';
import { RaftLog } from '../../src/member/log/raft-log.js';
import { type ConfState, type Entry, EntryType, type HardState } from '../../src/member/raft/types.js';
import { FORMAT_VERSION, type Stamp } from '../../src/member/store/stamp.js';

/** One append: entries [from, to] of `term` replace what is there from `from` on; none when `to` < `from`. */
export interface Operation {
  readonly from: number;
  readonly to: number;
  readonly term: number;
  readonly commit: number;
  /** Entries up to here may be forgotten afterwards. */
  readonly compactTo: number;
}

export const stamp: Stamp = { clusterId: 0xc1n, memberId: 0xa1n, formatVersion: FORMAT_VERSION };
const confState: ConfState = { voters: [0xa1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
/** Small, so that the files are reused many times in a second. */
const walFileBytes = 64 << 10;

export function openLog(directory: string): RaftLog {
  return RaftLog.open({ directory, stamp, walFileBytes });
}

/** The one entry that can stand at this index with this term. */
export function entryOf(index: number, term: number): Entry {
  const prng = new Prng(index * 1_000 + term);
  const choice = prng.nextBelow(100);
  const bytes = choice < 90 ? prng.nextBelow(300) : prng.nextBelow(choice < 99 ? 6_000 : 100_000);
  return { type: EntryType.Normal, term, index, data: Buffer.alloc(bytes, `${index}/${term};`) };
}

export function hardStateOf(term: number, commit: number): HardState {
  return { term, vote: BigInt(term), commit };
}

function nextOperation(prng: Prng, log: RaftLog): Operation {
  const { hardState } = log.initialState();
  const last = log.lastIndex();
  const replaces = prng.nextBelow(10) === 0;
  const from = replaces ? hardState.commit + 1 + prng.nextBelow(last - hardState.commit + 1) : last + 1;
  const to = from - 1 + prng.nextBelow(5);
  const newTerm = hardState.term + (replaces || prng.nextBelow(20) === 0 ? 1 : 0);
  const end = to >= from ? to : last;
  const commit = Math.max(hardState.commit, end - prng.nextBelow(8));
  const compactTo = prng.nextBelow(5) === 0 ? commit - prng.nextBelow(50) : 0;
  return { from, to, term: newTerm, commit, compactTo };
}

function perform(log: RaftLog, { from, to, term, commit, compactTo }: Operation): void {
  const entries: Entry[] = [];
  for (let index = from; index <= to; index++) entries.push(entryOf(index, term));
  log.append(entries, hardStateOf(term, commit), true);
  if (compactTo > 0) log.compact(compactTo);
}

function say(line: object): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

function main(directory: string, seed: number): void {
  const prng = new Prng(seed);
  const log = openLog(directory);
  if (!log.bootstrapped) log.bootstrap([entryOf(1, 1)], hardStateOf(1, 1), confState);
  say({ opened: true });
  for (let nowMs = 0; ; nowMs += prng.nextBelow(300)) {
    const operation = nextOperation(prng, log);
    say(operation);
    perform(log, operation);
    say({ done: true });
    // A clock of its own: every few operations the log is told that it was quiet for a second.
    log.flushIfDue(nowMs);
  }
}

if (process.argv[1] === import.meta.filename) main(process.argv[2]!, Number(process.argv[3]));
