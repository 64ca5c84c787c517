/**
 * Random clusters under random faults. A failure names its seed: SEED=n runs that one alone.
 *
 * SEEDS=count runs more of them (the default takes a few seconds).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Simulation } from './support/simulation.js';

const SEEDS = Number(process.env.SEEDS ?? 200);
const only = process.env.SEED;

test('random clusters keep the laws and recover', () => {
  const seeds = only === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(only)];
  const total = { applied: 0, readsAnswered: 0, snapshotsInstalled: 0, confChanges: 0 };
  for (const seed of seeds) {
    try {
      const result = new Simulation(seed).run();
      total.applied += result.applied;
      total.readsAnswered += result.readsAnswered;
      total.snapshotsInstalled += result.snapshotsInstalled;
      total.confChanges += result.confChanges;
    } catch (error) {
      throw new Error(`SEED=${seed}`, { cause: error });
    }
  }
  if (only !== undefined) return;
  // A simulation in which nothing happens finds nothing.
  for (const [what, count] of Object.entries(total)) assert.ok(count > SEEDS, `${what}: only ${count}`);
});

test('the same seed is the same run (I24)', () => {
  for (const seed of [7, 8, 9]) {
    assert.deepEqual(new Simulation(seed).run(), new Simulation(seed).run());
  }
});
