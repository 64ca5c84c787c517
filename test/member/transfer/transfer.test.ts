import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { describe, test } from 'node:test';
import type { RaftLog } from '../../../src/member/log/raft-log.js';
import { stateDirectory } from '../../../src/member/store/state-directory.js';
import { StateStore } from '../../../src/member/store/state-store.js';
import { StorageError, type StorageErrorKind } from '../../../src/member/store/storage-error.js';
import { FRAME_BYTES_MAX, StateExporter } from '../../../src/member/transfer/exporter.js';
import { StateImporter } from '../../../src/member/transfer/importer.js';
import { confStateOf, entries, hardState, openLog, STAMP, temporaryDirectory } from '../log/support.js';

const MAP_SIZE_BYTES = 1 << 30;
const RECEIVER = { ...STAMP, memberId: 0xb2n };
const METADATA = { index: 500, term: 4, confState: confStateOf(STAMP.memberId, RECEIVER.memberId) };

function openStore(directory: string, stamp = STAMP): StateStore {
  return StateStore.open({ directory, stamp, mapSizeBytes: MAP_SIZE_BYTES, durable: false });
}

function importerIn(directory: string, generation: number): StateImporter {
  return new StateImporter({ directory, generation, stamp: RECEIVER, mapSizeBytes: MAP_SIZE_BYTES });
}

function fails(kind: StorageErrorKind): (error: unknown) => boolean {
  return error => error instanceof StorageError && error.kind === kind;
}

/** A store applied to METADATA's index: records of all sizes, one larger than several frames, small tables. */
function filledStore(directory: string): StateStore {
  const store = openStore(directory);
  for (let main = 2; main < 1500; main += 1) {
    store.putRecord(main, 0, main % 7 === 0, new Uint8Array((main * 37) % 700).fill(main));
  }
  store.putRecord(1500, 0, false, new Uint8Array(900 << 10).fill(0xab));
  store.putRecord(1500, 1, false, new Uint8Array(0));
  store.put('lease', new Uint8Array([1, 2, 3]), new Uint8Array([9]));
  store.put('authUsers', new Uint8Array(3000).fill(0x61), new Uint8Array([8]));
  store.setApplied(METADATA.index, METADATA.term);
  store.commit();
  return store;
}

function framesOf(store: StateStore): Uint8Array[] {
  const exporter = StateExporter.start(store);
  const frames: Uint8Array[] = [];
  for (let frame = exporter.next(); frame !== undefined; frame = exporter.next()) frames.push(frame);
  exporter.close();
  return frames;
}

function contentOf(store: StateStore): unknown {
  const records: string[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    records.push(`${main}_${sub}_${tombstone}_${Buffer.from(value).toString('hex')}`);
    return true;
  });
  const tables = (['meta', 'lease', 'authUsers'] as const).map(table => store.list(table));
  return { records, tables, applied: [store.appliedIndex, store.appliedTerm] };
}

describe('state transfer', () => {
  test('the receiver has what the sender had when it began, under its own stamp', async context => {
    const directory = await temporaryDirectory(context);
    const sender = filledStore(path.join(directory, 'sender'));
    const before = contentOf(sender);
    const exporter = StateExporter.start(sender);
    const importer = importerIn(directory, 2);
    let frames = 0;
    for (let frame = exporter.next(); frame !== undefined; frame = exporter.next()) {
      assert.ok(frame.length <= FRAME_BYTES_MAX);
      importer.write(frame);
      frame.fill(0);
      frames += 1;
      sender.putRecord(2000 + frames, 0, false, new Uint8Array(100));
      sender.deleteRecord(2 + frames, 0, (2 + frames) % 7 === 0);
      sender.setApplied(METADATA.index + frames, METADATA.term);
      sender.commit();
    }
    exporter.close();
    assert.ok(frames > 5, `${frames} frames`);
    assert.deepEqual(importer.finish(), { appliedIndex: METADATA.index, appliedTerm: METADATA.term });
    assert.deepEqual([exporter.appliedIndex, exporter.appliedTerm], [METADATA.index, METADATA.term]);
    const received = openStore(stateDirectory(directory, 2), RECEIVER);
    assert.deepEqual(contentOf(received), before);
    received.putRecord(3000, 0, false, new Uint8Array(1));
    received.setApplied(METADATA.index + 1, METADATA.term);
    received.commit();
    await Promise.all([received.close(), sender.close()]);
  });

  test('an empty state can be transferred', async context => {
    const directory = await temporaryDirectory(context);
    const sender = openStore(path.join(directory, 'sender'));
    const importer = importerIn(directory, 3);
    for (const frame of framesOf(sender)) importer.write(frame);
    assert.deepEqual(importer.finish(), { appliedIndex: 0, appliedTerm: 0 });
    await sender.close();
  });

  test('a lost, repeated, damaged or missing frame is noticed', async context => {
    const directory = await temporaryDirectory(context);
    const sender = filledStore(path.join(directory, 'sender'));
    const frames = framesOf(sender);
    await sender.close();
    const attempt = (change: (frames: Uint8Array[]) => Uint8Array[]) => () => {
      const importer = importerIn(directory, 2);
      try {
        for (const frame of change([...frames])) importer.write(frame);
        importer.finish();
      } finally {
        importer.abandon();
      }
    };
    assert.throws(
      attempt(all => all.toSpliced(1, 1)),
      fails('corrupt'),
    );
    assert.throws(
      attempt(all => all.toSpliced(1, 0, all[0]!)),
      fails('corrupt'),
    );
    assert.throws(
      attempt(all => all.slice(0, -1)),
      fails('corrupt'),
    );
    assert.throws(
      attempt(all => [...all, all[0]!]),
      fails('corrupt'),
    );
    for (const at of [0, 5, 8, 9, 5000]) {
      const flipped = frames[1]!.slice();
      flipped[at]! ^= 0x10;
      assert.throws(
        attempt(all => all.with(1, flipped)),
        fails('corrupt'),
      );
    }
    assert.deepEqual(await fs.readdir(directory), ['sender'], 'nothing is left of an abandoned import');
  });

  test('a crash at any step leaves the old state with the old log or the new with the new', async context => {
    const base = await temporaryDirectory(context);
    const sender = filledStore(path.join(base, 'sender'));
    const frames = framesOf(sender);
    await sender.close();
    const steps = frames.length + 4;
    for (let step = 0; step <= steps; step += 1) {
      const directory = path.join(base, `step-${step}`);
      await openOld(directory, log => {
        crashAfter(step, directory, log, frames);
      });
      const log = openLog(directory, { stamp: RECEIVER });
      const store = openStore(stateDirectory(directory, log.stateGeneration), RECEIVER);
      const leftovers = (await fs.readdir(directory)).filter(name => name.startsWith('state-'));
      assert.deepEqual(leftovers, [`state-${log.stateGeneration}`]);
      const installed = step > frames.length + 2;
      assert.equal(log.stateGeneration, installed ? 2 : 1, `step ${step}`);
      assert.equal(store.appliedIndex, installed ? METADATA.index : 3, `step ${step}`);
      assert.deepEqual([log.firstIndex(), log.lastIndex()], installed ? [501, 500] : [1, 10]);
      log.reconcile(store.appliedIndex, store.appliedTerm);
      await Promise.all([log.close(), store.close()]);
    }
  });

  test('an import over a leftover begins anew', async context => {
    const directory = await temporaryDirectory(context);
    const sender = filledStore(path.join(directory, 'sender'));
    const frames = framesOf(sender);
    const first = importerIn(directory, 2);
    for (const frame of frames) first.write(frame);
    first.finish();
    const second = importerIn(directory, 2);
    for (const frame of frames) second.write(frame);
    second.finish();
    const received = openStore(stateDirectory(directory, 2), RECEIVER);
    assert.deepEqual(contentOf(received), contentOf(sender));
    await Promise.all([received.close(), sender.close()]);
  });
});

/** A member with ten entries of which three are applied; `during` runs while its log is open and ends in a crash. */
async function openOld(directory: string, during: (log: RaftLog) => void): Promise<void> {
  const log = openLog(directory, { stamp: RECEIVER });
  log.append(entries(1, 10, 1), hardState(1, 3), true);
  const store = openStore(stateDirectory(directory, 1), RECEIVER);
  store.setApplied(3, 1);
  store.commit();
  during(log);
  await Promise.all([log.abandon(), store.close()]);
}

/** The steps of an installation, cut after `step` of them: create, frames, finish, install, append. */
function crashAfter(step: number, directory: string, log: RaftLog, frames: readonly Uint8Array[]): void {
  if (step === 0) return;
  const importer = importerIn(directory, 2);
  for (const frame of frames.slice(0, step - 1)) importer.write(frame);
  if (step < frames.length + 2) return;
  importer.finish();
  if (step < frames.length + 3) return;
  log.installSnapshot(METADATA, importer.generation);
  if (step < frames.length + 4) return;
  log.append([], hardState(5, METADATA.index), true);
}
