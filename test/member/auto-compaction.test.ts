/** Auto-compaction with a clock of its own: when the leader compacts, and to which revision. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AutoCompaction, type AutoCompactionSettings } from '../../src/member/auto-compaction.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** A member whose revision grows by one a minute; `turn` passes a minute and returns what is to be compacted. */
class Stage {
  readonly #compaction: AutoCompaction;
  minute = 0;
  revision = 1;
  compactRevision = -1;
  leads = true;
  /** False: what is asked for gets lost. */
  delivers = true;
  grows = true;

  constructor(settings: AutoCompactionSettings) {
    this.#compaction = new AutoCompaction(settings);
  }

  turn(): number | undefined {
    const asked = this.#compaction.turn({
      nowMs: this.minute * MINUTE_MS + 5_000_000,
      currentRevision: this.revision,
      compactRevision: this.compactRevision,
      leads: this.leads,
    });
    if (asked !== undefined && this.delivers) this.compactRevision = asked;
    this.minute += 1;
    if (this.grows) this.revision += 1;
    return asked;
  }

  /** What was asked for in the next `minutes`: [minute, revision]. */
  run(minutes: number): [minute: number, revision: number][] {
    const asked: [number, number][] = [];
    for (let at = 0; at < minutes; at += 1) {
      const { minute } = this;
      const revision = this.turn();
      if (revision !== undefined) asked.push([minute, revision]);
    }
    return asked;
  }
}

test('off by default', () => {
  assert.deepEqual(new Stage({ mode: 'periodic', retention: 0 }).run(1_000), []);
  assert.deepEqual(new Stage({ mode: 'revision', retention: 0 }).run(1_000), []);
});

test('periodic, under an hour: first after the period, then every period, to what is a period old', () => {
  const stage = new Stage({ mode: 'periodic', retention: 30 * MINUTE_MS });
  // Samples are three minutes apart; the oldest one is a period old, or one sample more once the window is full.
  assert.deepEqual(stage.run(100), [
    [30, 1],
    [60, 28],
    [90, 58],
  ]);
});

test('periodic, over an hour: first after the period, then every hour', () => {
  const stage = new Stage({ mode: 'periodic', retention: 3 * HOUR_MS });
  assert.deepEqual(stage.run(6 * 60), [
    [180, 1],
    [240, 55],
    [300, 115],
  ]);
});

test('periodic: nothing new, nothing compacted', () => {
  const stage = new Stage({ mode: 'periodic', retention: HOUR_MS });
  stage.grows = false;
  assert.deepEqual(stage.run(10 * 60), [[60, 1]]);
  stage.grows = true;
  const [first] = stage.run(3 * 60);
  assert.ok(first !== undefined && first[1] > 1, String(first));
});

test('periodic: only the leader asks, with the history it has sampled as a follower', () => {
  const stage = new Stage({ mode: 'periodic', retention: HOUR_MS });
  stage.leads = false;
  assert.deepEqual(stage.run(150), []);
  stage.leads = true;
  assert.deepEqual(stage.run(10), [[150, 85]]);
});

test('what was lost is asked for again at the next sample', () => {
  const stage = new Stage({ mode: 'periodic', retention: HOUR_MS });
  stage.delivers = false;
  assert.deepEqual(stage.run(75), [
    [60, 1],
    [66, 1],
    [72, 7],
  ]);
  stage.delivers = true;
  assert.deepEqual(stage.run(6), [[78, 13]]);
  assert.deepEqual(stage.run(57), []);
});

test('revision: every five minutes to so many revisions ago', () => {
  const stage = new Stage({ mode: 'revision', retention: 10 });
  assert.deepEqual(stage.run(22), [
    [10, 1],
    [15, 6],
    [20, 11],
  ]);
  stage.grows = false;
  assert.deepEqual(stage.run(30), [[25, 13]]);
});

test('a member that was held up catches up with one compaction', () => {
  const stage = new Stage({ mode: 'revision', retention: 10 });
  stage.run(16);
  stage.minute += 60;
  stage.revision += 60;
  assert.equal(stage.run(5).length, 1);
});
