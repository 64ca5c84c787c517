/** What the storage tests share: a temporary directory, a stamp, entries. */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import type { TestContext } from 'node:test';
import { RaftLog, type RaftLogOptions } from '../../../src/member/log/raft-log.js';
import { type ConfState, type Entry, EntryType, type HardState } from '../../../src/member/raft/types.js';
import { FORMAT_VERSION, type Stamp } from '../../../src/member/store/stamp.js';

export const STAMP: Stamp = { clusterId: 0xc1n, memberId: 0xa1n, formatVersion: FORMAT_VERSION };
export const CONF_STATE: ConfState = confStateOf(0xa1n);

/** A directory that is gone after the test. */
export async function temporaryDirectory(context: TestContext): Promise<string> {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'kvorum-storage-'));
  context.after(() => fs.rm(directory, { recursive: true, force: true }));
  return directory;
}

export function openLog(directory: string, options: Partial<RaftLogOptions> = {}): RaftLog {
  return RaftLog.open({ directory, stamp: STAMP, walFileBytes: 256 << 10, ...options });
}

export function entry(index: number, term: number, dataBytes = 40): Entry {
  const data = new Uint8Array(dataBytes);
  for (let at = 0; at < dataBytes; at += 1) data[at] = index * 31 + term * 7 + at;
  return { type: EntryType.Normal, term, index, data };
}

/** Entries [from, to]. */
export function entries(from: number, to: number, term: number, dataBytes = 40): Entry[] {
  const made: Entry[] = [];
  for (let index = from; index <= to; index += 1) made.push(entry(index, term, dataBytes));
  return made;
}

export function hardState(term: number, commit: number, vote = 0xa1n): HardState {
  return { term, vote, commit };
}

export function confStateOf(...voters: bigint[]): ConfState {
  return { voters, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
}

/** The whole log as [index, term, data as hex]. */
export function contentOf(log: RaftLog): [number, number, string][] {
  if (log.lastIndex() < log.firstIndex()) return [];
  return log
    .entries(log.firstIndex(), log.lastIndex() + 1, Number.MAX_SAFE_INTEGER)
    .map(({ index, term, data }) => [index, term, Buffer.from(data).toString('hex')]);
}

export function described(list: readonly Entry[]): [number, number, string][] {
  return list.map(({ index, term, data }) => [index, term, Buffer.from(data).toString('hex')]);
}
