/**
 * What does a member's storage cost? Prints, for one thread on the disk of the given directory:
 *   - an append of 1, 10, 100, 1000 entries: write-ahead file, and beside it the same entries as a synced LMDB commit;
 *   - the pieces in which the log is moved to LMDB behind the appends;
 *   - commits of the state at 30,000 puts a second, by how much one commit holds, and while the log is written too;
 *   - reads of single records and a scan; creating, opening and recovering.
 *
 * Run: node dist/bench/storage.js [directory] [seconds for each row]
 */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { RaftLog } from '../src/member/log/raft-log.js';
import { type Entry, EntryType } from '../src/member/raft/types.js';
import { Environment } from '../src/member/store/environment.js';
import { setKeyUint64 } from '../src/member/store/numbers.js';
import { FORMAT_VERSION } from '../src/member/store/stamp.js';
import { mapSizeFor, StateStore } from '../src/member/store/state-store.js';

const ENTRY_BYTES = 300;
const RECORD_BYTES = 256 + 30;
const PUTS_PER_SECOND = 30_000;
const STAMP = { clusterId: 1n, memberId: 2n, formatVersion: FORMAT_VERSION };
const MAP_SIZE_BYTES = mapSizeFor(2 ** 31);
const data = new Uint8Array(ENTRY_BYTES).fill(7);
const value = new Uint8Array(RECORD_BYTES).fill(7);

const parent = process.argv[2] ?? os.tmpdir();
const rowMs = Number(process.argv[3] ?? '2') * 1000;
const directory = await fs.mkdtemp(path.join(parent, 'kvorum-bench-'));
try {
  await appends();
  await moves();
  await commits();
  await reads();
} finally {
  await fs.rm(directory, { recursive: true, force: true });
}

async function appends(): Promise<void> {
  heading('append, entries of 300 bytes', 'ms per append', 'entries/s');
  for (const count of [1, 10, 100, 1000]) {
    const log = openLog(`append-${count}`);
    const times = measure(() => {
      const entries = entriesAfter(log.lastIndex(), count);
      const took = timed(() => log.append(entries, hardStateOf(log), true));
      log.compact(log.lastIndex() - count);
      log.flushIfDue(performance.now());
      return took;
    });
    row(`write-ahead file, ${count}`, times, count);
    await log.close();
    const environment = openEnvironment(`lmdb-${count}`);
    let index = 0;
    const key = new Uint8Array(8);
    const plain = measure(() =>
      timed(() => {
        environment.commit(count * ENTRY_BYTES, writer => {
          for (let i = 0; i < count; i += 1) {
            index += 1;
            setKeyUint64(key, 0, index);
            writer.append(key, data);
          }
        });
      }),
    );
    row(`LMDB synced commit, ${count}`, plain, count);
    await environment.close();
  }
}

async function moves(): Promise<void> {
  heading('moving the log to LMDB, 100 entries an append, nothing compacted', 'ms per move', '');
  for (const moveEntriesMax of [256, 512, 1024, 2048]) {
    const log = RaftLog.open({
      directory: path.join(directory, `move-${moveEntriesMax}`),
      stamp: STAMP,
      moveEntriesMax,
    });
    const took: number[] = [];
    measure(() => {
      log.append(entriesAfter(log.lastIndex(), 100), hardStateOf(log), true);
      let moved = false;
      const time = timed(() => {
        moved = log.flushIfDue(performance.now());
      });
      if (moved) took.push(time);
      return time;
    });
    row(`at most ${moveEntriesMax} entries`, took);
    await log.close();
  }
}

async function commits(): Promise<void> {
  heading('commit of the state, values of 256 bytes', 'ms per commit', 'puts/s while committing');
  for (const perCommit of [500, 1000, 2000, 3000, 5000]) {
    const store = openStore(`commit-${perCommit}`);
    let main = 1;
    const times = measure(() => {
      for (let i = 0; i < perCommit; i += 1) main = put(store, main);
      return timed(() => store.commit());
    });
    row(`${perCommit} puts (every ${Math.round((perCommit * 1000) / PUTS_PER_SECOND)} ms at 30k/s)`, times, perCommit);
    await store.close();
  }
  await pacedCommits();
}

/** Log and state together, 30,000 puts a second in turns of 1 ms, the store's own limits. */
async function pacedCommits(): Promise<void> {
  const log = openLog('paced');
  const store = openStore('paced-state');
  const perTurn = PUTS_PER_SECOND / 1000;
  const took: number[] = [];
  const turns: number[] = [];
  let main = 1;
  const started = performance.now();
  for (let turn = 0; performance.now() - started < rowMs * 2; turn += 1) {
    const due = started + turn;
    while (performance.now() < due);
    const turnTook = timed(() => {
      log.append(entriesAfter(log.lastIndex(), perTurn), hardStateOf(log), true);
      for (let i = 0; i < perTurn; i += 1) main = put(store, main);
      const time = timed(() => {
        if (!store.commitIfDue(performance.now())) return;
        log.compact(Math.max(0, store.durableAppliedIndex - 5000));
        took.push(0);
      });
      if (took[took.length - 1] === 0) took[took.length - 1] = time;
      log.flushIfDue(performance.now());
    });
    turns.push(turnTook);
  }
  row('commits at 30k/s with the log beside them', took);
  row('whole turns of these (append, apply, commit, move)', turns);
  await log.close();
  await store.close();
}

async function reads(): Promise<void> {
  heading('reads and opening', 'µs', '');
  let store = openStore('reads');
  let main = 1;
  const records = 300_000;
  while (main < records) {
    for (let i = 0; i < 5000; i += 1) main = put(store, main);
    store.commit();
  }
  let at = 1;
  row(
    'getRecord, random revision',
    perCall(200_000, () => {
      at = (at * 48_271) % 2_147_483_647;
      store.getRecord(2 + (at % (records - 2)), 0);
    }),
  );
  let scanned = 0;
  const scanMs = timed(() => {
    store.scanRecords({ main: 0, sub: 0 }, () => {
      scanned += 1;
      return true;
    });
  });
  row(`scanRecords, a record (of ${scanned})`, [(scanMs * 1000) / scanned]);
  await store.close();
  row('open the state', [
    1000 *
      timed(() => {
        store = openStore('reads');
      }),
  ]);
  await store.close();
  let log: RaftLog | undefined;
  row('create the log', [
    1000 *
      timed(() => {
        log = openLog('open');
      }),
  ]);
  for (let last = 0; last < 20_000; last += 500) {
    log?.append(entriesAfter(last, 500), { term: 1, vote: 2n, commit: 0 }, true);
    log?.flushIfDue(0);
  }
  await log?.abandon();
  row('open the log, 20,000 entries to recover', [
    1000 *
      timed(() => {
        log = openLog('open');
      }),
  ]);
  await log?.close();
}

function openLog(name: string): RaftLog {
  return RaftLog.open({ directory: path.join(directory, name), stamp: STAMP });
}

function openStore(name: string): StateStore {
  return StateStore.open({ directory: path.join(directory, name), stamp: STAMP, mapSizeBytes: MAP_SIZE_BYTES });
}

function openEnvironment(name: string): Environment {
  return Environment.open({
    what: 'log',
    directory: path.join(directory, name),
    mapSizeBytes: MAP_SIZE_BYTES,
    durable: true,
  });
}

function put(store: StateStore, main: number): number {
  store.putRecord(main + 1, 0, false, value);
  store.setApplied(main, 1);
  return main + 1;
}

function entriesAfter(last: number, count: number): Entry[] {
  const made: Entry[] = [];
  for (let i = 1; i <= count; i += 1) made.push({ type: EntryType.Normal, term: 1, index: last + i, data });
  return made;
}

function hardStateOf(log: RaftLog): { term: number; vote: bigint; commit: number } {
  return { term: 1, vote: 2n, commit: log.lastIndex() };
}

function timed(action: () => void): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

/** Milliseconds of each call, for as long as a row takes. */
function measure(action: () => number): number[] {
  const times: number[] = [];
  const until = performance.now() + rowMs;
  while (performance.now() < until) times.push(action());
  return times;
}

/** Microseconds of calls too short to be timed one by one: means of a thousand. */
function perCall(calls: number, action: () => void): number[] {
  const means: number[] = [];
  for (let done = 0; done < calls; done += 1000) {
    means.push(
      timed(() => {
        for (let i = 0; i < 1000; i += 1) action();
      }),
    );
  }
  return means;
}

function heading(what: string, unit: string, rate: string): void {
  console.log(
    `\n${what}\n${''.padEnd(56)}${`p50  (${unit})`.padStart(22)}${'p99'.padStart(10)}${'max'.padStart(10)}  ${rate}`,
  );
}

/** Numbers below 0.1 ms are printed as they come; `perAction` turns milliseconds into a rate. */
function row(name: string, times: readonly number[], perAction = 0): void {
  const sorted = [...times].sort((a, b) => a - b);
  const quantile = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(3);
  const total = times.reduce((sum, time) => sum + time, 0);
  const rate = perAction > 0 ? Math.round((perAction * times.length * 1000) / total).toLocaleString('en') : '';
  console.log(
    `${name.padEnd(56)}${quantile(0.5).padStart(22)}${quantile(0.99).padStart(10)}${quantile(1).padStart(10)}  ${rate}`,
  );
}
