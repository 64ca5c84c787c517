/**
 * Records that outsiders cause: one a second, and the number of the others.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { PacedLog } from '../../src/host/paced-log.js';

test('one record a second, which says how many were left out since', () => {
  const lines: unknown[] = [];
  const base = { base: null, timestamp: false };
  let nowMs = 0;
  const log = new PacedLog(pino(base, { write: line => lines.push(JSON.parse(line)) }), () => nowMs);
  for (const atMs of [0, 1, 500, 999, 1_000, 1_001, 2_500, 4_000]) {
    nowMs = atMs;
    log.warn({ atMs }, 'knock');
  }
  const knock = { level: 40, msg: 'knock' };
  assert.deepEqual(lines, [
    { ...knock, atMs: 0 },
    { ...knock, atMs: 1_000, unlogged: 3 },
    { ...knock, atMs: 2_500, unlogged: 1 },
    { ...knock, atMs: 4_000 },
  ]);
});
