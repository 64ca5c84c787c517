/**
 * Every quick attack against a real server of three members, beside a client that behaves: the attack comes to its end,
 * every call of the good client succeeds, and what the server holds afterwards is what it held before.
 *
 * Nothing here measures time: that is bench/abuse.ts. Attacks that come to their end by time: slow.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { quickAttacks } from './attacks.js';
import type { Census } from './server.js';
import { AbuseStage, GoodClient } from './stage.js';

const mib = 1024 * 1024;
/** What may be left over: pools, compiled code, caches. A leak of an attack is larger. */
const leftBytesMax = 48 * mib;

let stage: AbuseStage;
let good: GoodClient;
let atStart: Census;

before(async () => {
  stage = await AbuseStage.start();
  good = await GoodClient.start(stage.endpoint);
  await good.served(500);
  atStart = await stage.census();
});

after(async () => {
  await good.stop();
  await stage.end();
});

for (const { name, ends, growthBytesMax = 128 * mib, run } of quickAttacks) {
  it(name, async () => {
    const before = await stage.census();
    assert.equal(await run(stage.endpoint, stage.tlsEndpoint), ends);
    await good.served(20);
    assert.deepEqual(good.failures, []);
    const { memoryBytes, peakBytes } = await stage.censusWithin(atStart.sockets, atStart.memoryBytes + leftBytesMax);
    const grown = Math.round((peakBytes - before.memoryBytes) / mib);
    assert.ok(grown <= growthBytesMax / mib, `it grew by ${grown} MiB`);
    const left = Math.round((memoryBytes - atStart.memoryBytes) / mib);
    assert.ok(left <= leftBytesMax / mib, `${left} MiB are left over`);
  });
}
