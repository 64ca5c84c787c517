/**
 * One life of a member's storage, for kill.test.ts: opens log and state in the directory given as argument, checks that
 * everything is as its deterministic content says, replays, reports `open <last index>`, then appends until it is
 * killed, reporting each index once append() has returned. Small files and limits, so that moves, reuse and compaction
 * happen. The state is written anew now and then.
 */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { RaftLog } from '../../../src/member/log/raft-log.js';
import { Defragmenter } from '../../../src/member/store/defragmenter.js';
import { stateDirectory } from '../../../src/member/store/state-directory.js';
import { StateStore } from '../../../src/member/store/state-store.js';
import { confStateOf, entries, entry, hardState, STAMP } from './support.js';

const KEPT_ENTRIES = 300;
const directory = process.argv[2]!;
const log = RaftLog.open({ directory, stamp: STAMP, walFileBytes: 48 << 10, moveEntriesMax: 40 });
if (!log.bootstrapped) log.bootstrap(entries(1, 1, 1), hardState(1, 1), confStateOf(1n));
const store = StateStore.open({
  directory: stateDirectory(directory, log.stateGeneration),
  stamp: STAMP,
  mapSizeBytes: 1 << 30,
});
log.reconcile(store.appliedIndex, store.appliedTerm);
checkLog();
checkState();
applyUpTo(log.initialState().hardState.commit);
fs.writeSync(1, `open ${log.lastIndex()}\n`);
let defragmenter: Defragmenter | undefined;
for (let nowMs = 0; ; nowMs += 20) {
  const first = log.lastIndex() + 1;
  const last = first + (first % 13);
  const batch = [];
  for (let index = first; index <= last; index += 1) batch.push(contentAt(index));
  log.append(batch, hardState(1, first - 1), true);
  fs.writeSync(1, `${last}\n`);
  applyUpTo(first - 1);
  if (store.commitIfDue(nowMs)) log.compact(Math.max(0, store.durableAppliedIndex - KEPT_ENTRIES));
  log.flushIfDue(nowMs);
  defragment();
}

/** Now and then a beginning; then a slice, or the switch to the new state: as the member does it. */
function defragment(): void {
  const generation = log.stateGeneration + 1;
  if (defragmenter === undefined) {
    if (log.lastIndex() % 32 !== 0) return;
    store.commit();
    defragmenter = new Defragmenter(store, {
      directory,
      generation,
      stamp: STAMP,
      mapSizeBytes: 1 << 30,
      durable: true,
    });
  }
  if (defragmenter.step()) return;
  store.commit();
  const environment = defragmenter.finish();
  defragmenter = undefined;
  const former = stateDirectory(directory, log.stateGeneration);
  log.switchState(generation);
  void store.adopt(environment).close();
  fs.rmSync(former, { recursive: true });
}

function contentAt(index: number) {
  return entry(index, 1, index === 1 ? 40 : 20 + ((index * 71) % 500));
}

function applyUpTo(commit: number): void {
  for (let index = store.appliedIndex + 1; index <= commit; index += 1) {
    store.putRecord(index, 0, false, contentAt(index).data);
    store.put('meta', new Uint8Array([1]), new Uint8Array([index & 0xff]));
    store.setApplied(index, 1);
  }
}

function checkLog(): void {
  assert.ok(log.firstIndex() - 1 <= store.appliedIndex);
  for (const found of log.entries(log.firstIndex(), log.lastIndex() + 1, Number.MAX_SAFE_INTEGER)) {
    assert.deepEqual(found, contentAt(found.index));
  }
}

function checkState(): void {
  let records = 0;
  store.scanRecords({ main: 0, sub: 0 }, (main, _sub, _tombstone, value) => {
    records += 1;
    assert.equal(main, records);
    assert.deepEqual(value, contentAt(main).data);
    return true;
  });
  assert.equal(records, store.appliedIndex);
  const last = store.get('meta', new Uint8Array([1]));
  assert.equal(last?.[0], records === 0 ? undefined : records & 0xff);
}
