/**
 * kill -9 of the whole process at random moments (fault F4): nothing acknowledged and nothing read is lost, the
 * server comes up again by itself, and all members hold the same.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { runCycles } from './cycles.js';
import { compactOften, planKvorum } from './server-life.js';

for (const { members, cycles } of [
  { members: 3, cycles: 35 },
  { members: 1, cycles: 15 },
]) {
  test(`kill -9 at ${cycles} random moments, members: ${members}`, async t => {
    const seed = randomInt(2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const totals = await runCycles({
      plan: root => planKvorum(root, members, compactOften),
      crash: 'kill',
      cycles,
      cyclesPerDirectory: cycles,
      seed,
    });
    t.diagnostic(JSON.stringify(totals));
    assert(totals.acknowledged > cycles, JSON.stringify(totals));
  });
}
