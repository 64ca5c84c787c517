/**
 * The pace of bcrypt, by scripted clocks: it rests for as long as it works when it is told to, and never else. This
 * file's thread steps back as that of the tasks does, for the module of the tasks has it do so.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { hashSync } from 'bcryptjs';
import { paced, type Surroundings } from '../../src/tasks/pace.js';
import { comparePassword, hashPassword } from '../../src/tasks/passwords.js';

/** A world in which time goes on by a quarter of a millisecond with each look. */
class World implements Surroundings {
  looks = 0;
  readonly rested: number[] = [];
  #ms = 0;

  nowMs = (): number => {
    this.looks += 1;
    this.#ms += 0.25;
    return this.#ms;
  };

  rest = (durationMs: number): void => {
    this.rested.push(durationMs);
    this.#ms += durationMs;
  };
}

test('a millisecond of rest follows on each of work', () => {
  const world = new World();
  paced(() => Array.from({ length: 20 }, () => Date.now()), world);
  assert.deepEqual(world.rested, [1, 1, 1, 1, 1]);
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
  const world = new World();
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
  const world = new World();
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
  for (const rests of [true, false]) {
    const counted = <Value>(job: (world: World) => Value): Value => {
      const world = new World();
      const value = job(world);
      assert.equal(world.rested.length >= 2 ** cost / 5, rests, `${world.rested.length} rests, ${world.looks} looks`);
      assert.equal(world.rested.length > 0, rests);
      assert.equal(Date.now, clock);
      return value;
    };
    const right = counted(world => comparePassword({ password: 'secret', hash, rests }, world));
    const wrong = counted(world => comparePassword({ password: 'Secret', hash, rests }, world));
    assert.deepEqual([right, wrong], [true, false]);
    const made = counted(world => hashPassword({ password: 'ß', cost, rests }, world));
    assert.match(made, /^\$2a\$06\$/);
    assert.equal(comparePassword({ password: 'ß', hash: made, rests }), true, 'in the thread’s own surroundings');
  }
  assert.equal(comparePassword({ password: 'secret', hash: `$2x${hash.slice(3)}`, rests: true }), false);
  assert.equal(Date.now, clock);
});
