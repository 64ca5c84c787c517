/**
 * The log against a model of it, with power cuts. The write-ahead files live on a simulated disk that keeps, of what
 * was not synced, any choice of sectors; LMDB commits (unsynced, to be quick) are cut before or after they happen. What
 * append() and its siblings returned from must be there afterwards, exactly; what they threw from may be there whole,
 * or not at all.
 */
import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { RaftLog } from '../../../src/member/log/raft-log.js';
import type { Entry, HardState } from '../../../src/member/raft/types.js';
import { SimulatedFiles } from './simulated-files.js';
import { confStateOf, entries, STAMP, temporaryDirectory } from './support.js';

const SEEDS = 6;
const STEPS = 200;

/** What must be there. Immutable: a step that was cut leaves a choice of two. */
interface Model {
  readonly compacted: number;
  readonly compactedTerm: number;
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  /** The configuration, and the entry that brought it. */
  readonly voters: bigint;
  readonly votersIndex: number;
  readonly generation: number;
}

class PowerCut extends Error {}

test('whatever returned is there after a power cut', async context => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const directory = path.join(await temporaryDirectory(context), `seed-${seed}`);
    await fs.mkdir(directory);
    runSeed(seed, directory);
  }
});

function runSeed(seed: number, directory: string): void {
  const prng = new Prng(seed);
  const files = new SimulatedFiles();
  let writesUntilCut = Number.POSITIVE_INFINITY;
  const countdown = () => {
    writesUntilCut -= 1;
    if (writesUntilCut < 0) throw new PowerCut();
  };
  files.beforeSync = countdown;
  const open = () =>
    RaftLog.open({
      directory,
      stamp: STAMP,
      files,
      durable: false,
      moveEntriesMax: 7,
      walFileBytes: 24 << 10,
      cacheBytesMax: prng.nextBelow(2) * 4096,
      beforeWrite: what => {
        if (what === 'log') countdown();
      },
    });
  let log = open();
  let model: Model = {
    compacted: 0,
    compactedTerm: 0,
    entries: [],
    hardState: { term: 1, vote: 0n, commit: 0 },
    voters: 1n,
    votersIndex: 0,
    generation: 1,
  };
  log.bootstrap([], model.hardState, confStateOf(1n));
  for (let step = 0; step < STEPS; step += 1) {
    if (prng.nextBelow(8) === 0) writesUntilCut = prng.nextBelow(4);
    const after = nextModel(model, prng);
    try {
      perform(log, model, after, prng);
      model = after;
      compare(log, [model], seed, step);
    } catch (error) {
      if (!hasPowerCut(error)) throw error;
      void log.abandon();
      files.crash(() => prng.nextBelow(2) === 0);
      writesUntilCut = Number.POSITIVE_INFINITY;
      log = open();
      model = compare(log, [after, model], seed, step);
    }
  }
  void log.abandon();
}

function hasPowerCut(error: unknown): boolean {
  return error instanceof PowerCut || (error instanceof Error && hasPowerCut(error.cause));
}

function lastIndexOf(model: Model): number {
  return model.compacted + model.entries.length;
}

function nextModel(model: Model, prng: Prng): Model {
  const last = lastIndexOf(model);
  const { commit, term } = model.hardState;
  switch (prng.nextBelow(10)) {
    case 0: // a conflict: the tail from some uncommitted index on is replaced
      if (last > commit) {
        const from = commit + 1 + prng.nextBelow(last - commit);
        const kept = model.entries.slice(0, from - 1 - model.compacted);
        const added = entries(from, from + prng.nextBelow(6), term + 1, prng.nextBelow(300));
        return { ...model, entries: [...kept, ...added], hardState: { ...model.hardState, term: term + 1, vote: 0n } };
      }
      return model;
    case 1: // a vote
      return { ...model, hardState: { term: term + 1, vote: BigInt(prng.nextBelow(3)), commit } };
    case 2: // compaction
      if (commit > model.compacted) {
        const to = model.compacted + 1 + prng.nextBelow(commit - model.compacted);
        return {
          ...model,
          compacted: to,
          compactedTerm: model.entries[to - 1 - model.compacted]!.term,
          entries: model.entries.slice(to - model.compacted),
        };
      }
      return model;
    case 3: // a snapshot
      if (prng.nextBelow(4) === 0) {
        const index = commit + 1 + prng.nextBelow(50);
        return {
          compacted: index,
          compactedTerm: term,
          entries: [],
          hardState: { ...model.hardState, commit: index },
          voters: model.voters + 1n,
          votersIndex: index,
          generation: model.generation + 1,
        };
      }
      return model;
    case 4: // a configuration
      return commit > model.votersIndex ? { ...model, voters: model.voters + 1n, votersIndex: commit } : model;
    default: {
      const added = entries(last + 1, last + 1 + prng.nextBelow(20), term, prng.nextBelow(400));
      const committed = commit + prng.nextBelow(last - commit + 1);
      return { ...model, entries: [...model.entries, ...added], hardState: { ...model.hardState, commit: committed } };
    }
  }
}

/** Does to the log what leads from `before` to `after`, and some housekeeping. */
function perform(log: RaftLog, before: Model, after: Model, prng: Prng): void {
  if (after.generation !== before.generation) {
    const metadata = { index: after.compacted, term: after.compactedTerm, confState: confStateOf(after.voters) };
    log.installSnapshot(metadata, after.generation, after.hardState);
  } else if (after.compacted !== before.compacted) {
    log.compact(after.compacted);
  } else if (after.voters !== before.voters) {
    log.setConfState(confStateOf(after.voters), before.hardState.commit);
  } else if (after !== before) {
    const common = after.entries.findIndex((entry, at) => entry !== before.entries[at]);
    log.append(common < 0 ? [] : after.entries.slice(common), after.hardState, true);
  }
  const nowMs = prng.nextBelow(3) === 0 ? prng.nextBelow(100_000_000) : 0;
  log.flushIfDue(nowMs);
}

/** The first candidate that the log agrees with; fails when there is none. */
function compare(log: RaftLog, candidates: readonly Model[], seed: number, step: number): Model {
  const found = {
    compacted: log.firstIndex() - 1,
    last: log.lastIndex(),
    generation: log.stateGeneration,
    term: log.initialState().hardState.term,
    vote: log.initialState().hardState.vote,
    voters: log.initialState().confState.voters[0]!,
  };
  for (const model of candidates) {
    const sameCompaction = candidates.length === 1 ? found.compacted === model.compacted : true;
    const { term, vote } = model.hardState;
    const matches =
      sameCompaction &&
      found.last === lastIndexOf(model) &&
      found.generation === model.generation &&
      found.term === term &&
      found.vote === vote &&
      found.voters === model.voters;
    if (!matches) continue;
    // Compaction is not durable by itself: after a crash the log may begin earlier.
    const from = Math.max(found.compacted, model.compacted);
    assert.ok(candidates.length === 1 || found.compacted <= model.compacted);
    const content = from < found.last ? log.entries(from + 1, found.last + 1, Number.MAX_SAFE_INTEGER) : [];
    if (!same(content, model.entries.slice(from - model.compacted))) continue;
    return { ...model, hardState: log.initialState().hardState, ...compactionOf(log, model) };
  }
  assert.fail(`seed ${seed} step ${step}: ${describe(found)} is none of ${candidates.map(describe).join(' | ')}`);
}

function same(left: readonly Entry[], right: readonly Entry[]): boolean {
  if (left.length !== right.length) return false;
  return left.every(({ index, term, data }, at) => {
    const other = right[at]!;
    return index === other.index && term === other.term && Buffer.compare(data, other.data) === 0;
  });
}

function compactionOf(log: RaftLog, model: Model): Partial<Model> {
  const compacted = log.firstIndex() - 1;
  if (compacted === model.compacted) return {};
  const all = log.entries(compacted + 1, log.lastIndex() + 1, Number.MAX_SAFE_INTEGER);
  return { compacted, compactedTerm: log.term(compacted)!, entries: all };
}

function describe(value: object): string {
  return JSON.stringify(value, (key, part: unknown) =>
    typeof part === 'bigint' ? String(part) : key === 'entries' ? (part as unknown[]).length : part,
  );
}
