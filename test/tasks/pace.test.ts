/**
 * The pace of bcrypt, by scripted clocks: it rests for as long as it works when it has company, and never alone. This
 * file's thread steps back as that of the tasks does, for the module of the tasks has it do so.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { hashSync } from 'bcryptjs';
import { Pace, paced, type Surroundings } from '../../src/tasks/pace.js';
import { comparePassword, hashPassword } from '../../src/tasks/passwords.js';

/** The slices of a computation whose rounds take a quarter of a millisecond: how long each took, and the rest after it. */
function rests(tookMs: readonly number[]): string {
  let nowMs = 5_000;
  const pace = new Pace(nowMs);
  return tookMs
    .map(slice => {
      // Three rounds are quick, and the fourth is put aside for what is missing.
      for (let round = 0; round < 3; round++) {
        nowMs += 0.25;
        assert.equal(pace.restMsAfterRound(nowMs), 0, 'a slice is not over');
      }
      nowMs += slice - 0.75;
      const restMs = pace.restMsAfterRound(nowMs);
      nowMs += restMs;
      if (restMs > 0) pace.goOn(nowMs);
      return restMs;
    })
    .join(' ');
}

/** A world in which time goes on by a quarter of a millisecond with each look; every so often others have the processor. */
class World implements Surroundings {
  looks = 0;
  readonly rested: number[] = [];
  #ms = 0;
  readonly #othersMs: number;

  constructor(othersMs: number) {
    this.#othersMs = othersMs;
  }

  nowMs = (): number => {
    this.looks += 1;
    this.#ms += this.looks % 6 === 0 ? 0.25 + this.#othersMs : 0.25;
    return this.#ms;
  };

  rest = (durationMs: number): void => {
    this.rested.push(durationMs);
    this.#ms += durationMs;
  };
}

test('alone it never rests: neither for slices that are somewhat uneven nor for a mishap now and then', () => {
  const uneven = [1.4, 1, 1.2, 1, 1.3, 1.4, 1];
  assert.equal(rests(uneven), '0 0 0 0 0 0 0');
  assert.equal(rests([1, 4, 1, 1]), '0 0 0 0');
});

test('with company it rests for as long as it works, not for as long as it was put aside', () => {
  assert.equal(rests([1, 9, 1, 9, 1, 1]), '0 1 1 1 1 1');
  assert.equal(rests([1, 2, 2, 2, 2, 2, 2, 2]), '0 0 0 0 0 0 1 1', 'others who take little, but always');
});

test('when the company has left, the rests end', () => {
  const slices = rests([1, 9, ...Array.from({ length: 30 }, () => 1)]).split(' ');
  const last = slices.lastIndexOf('1');
  assert.ok(last > 1 && last < 30, `it rested after slice ${last} for the last time`);
  assert.ok(slices.slice(1, last).every(rest => rest === '1'));
});

test('a computation begins without a past: what its rounds take is what the quickest slice has shown', () => {
  assert.equal(rests([9, 9, 9]), '0 0 0', 'slow rounds, as far as it can know');
  assert.equal(rests([9, 1, 9]), '0 0 1');
});

/** The process's clock, in other hands for the length of a test. */
function foreignClock(context: TestContext): () => number {
  const clock = Date.now;
  context.after(() => {
    Date.now = clock;
  });
  Date.now = () => 42;
  return Date.now;
}

test('the clock that a job asks says the time, and is put back', context => {
  const clock = foreignClock(context);
  const world = new World(9);
  const said = paced(() => {
    assert.notEqual(Date.now, clock);
    return Array.from({ length: 20 }, () => Date.now());
  }, world);
  assert.deepEqual(said, new Array(20).fill(42));
  assert.ok(world.rested.length > 0);
  assert.equal(Date.now, clock);
});

test('the clock is put back after a job that throws, in its rounds or in a rest', context => {
  const clock = foreignClock(context);
  const world = new World(9);
  assert.throws(() => paced(() => assert.fail('the job'), world), /the job/);
  assert.equal(Date.now, clock);
  const rest = (): void => assert.fail('the rest');
  const asks = (): number[] => Array.from({ length: 20 }, () => Date.now());
  assert.throws(() => paced(asks, { nowMs: world.nowMs, rest }), /the rest/);
  assert.equal(Date.now, clock);
});

test('bcrypt asks the time after each round, so it rests; what it finds is the same', context => {
  const cost = 6;
  const hash = hashSync('secret', cost);
  const clock = foreignClock(context);
  for (const { othersMs, restsMin, restsMax } of [
    { othersMs: 0, restsMin: 0, restsMax: 0 },
    { othersMs: 9, restsMin: 8, restsMax: 2 ** cost },
  ]) {
    const counted = <Value>(job: (world: World) => Value): Value => {
      const world = new World(othersMs);
      const value = job(world);
      assert.ok(world.looks >= 2 ** cost, `the time was asked ${world.looks} times`);
      const { length } = world.rested;
      assert.ok(length >= restsMin && length <= restsMax, `${length} rests beside others' ${othersMs} ms`);
      assert.equal(Date.now, clock);
      return value;
    };
    assert.equal(
      counted(world => comparePassword({ password: 'secret', hash }, world)),
      true,
    );
    assert.equal(
      counted(world => comparePassword({ password: 'Secret', hash }, world)),
      false,
    );
    const made = counted(world => hashPassword({ password: 'ß', cost }, world));
    assert.match(made, /^\$2a\$06\$/);
    assert.equal(comparePassword({ password: 'ß', hash: made }), true, 'in the thread’s own surroundings');
  }
  assert.equal(comparePassword({ password: 'secret', hash: `$2x${hash.slice(3)}` }), false);
  assert.equal(Date.now, clock);
});
