/**
 * Attacks that take their time, all at once and with a server of their own: each is closed by a timeout, every call of
 * the good client beside them succeeds, and nothing is left over.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slowAttacks } from './attacks.js';
import { AbuseStage, GoodClient } from './stage.js';

const leftBytesMax = 48 * 1024 * 1024;

test('what says too little, too slowly is closed in time', async () => {
  const stage = await AbuseStage.start();
  try {
    const good = await GoodClient.start(stage.endpoint);
    await good.served(100);
    const atStart = await stage.census();
    const stories = await Promise.all(slowAttacks.map(({ run }) => run(stage.endpoint, stage.tlsEndpoint)));
    assert.deepEqual(
      stories,
      slowAttacks.map(({ ends }) => ends),
    );
    await good.served(20);
    assert.deepEqual(good.failures, []);
    const { memoryBytes } = await stage.censusWithin(atStart.sockets, atStart.memoryBytes + leftBytesMax);
    assert.ok(memoryBytes - atStart.memoryBytes <= leftBytesMax, `${memoryBytes - atStart.memoryBytes} bytes are left`);
    await good.stop();
  } finally {
    await stage.end();
  }
});
