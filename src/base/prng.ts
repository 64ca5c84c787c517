/**
 * Seeded pseudo-random numbers: the only source of chance in the pure parts of kvorum.
 *
 * Elections, fault injection and the simulator take a Prng as a parameter, so that one seed replays one run. The
 * generator is xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018): 128 bits of
 * state, period 2^128 - 1, 32-bit arithmetic only. It is not for secrets.
 *
 * Invariant: the state is never all zero (xoshiro would stay there); the seeding guarantees it.
 */
import { assert } from './assert.js';

export class Prng {
  #s0: number;
  #s1: number;
  #s2: number;
  #s3: number;

  /** `seed` is any integer; only its low 53 bits count, and seeds that differ in them give unrelated streams. */
  constructor(seed: number) {
    assert(Number.isSafeInteger(seed), 'prng: the seed is a safe integer', { seed });
    const low = seed >>> 0;
    const high = Math.floor(seed / 2 ** 32) >>> 0;
    // Each state word is a different bijection of the seed: neighbouring seeds must not give similar streams.
    this.#s0 = mix(low ^ 0x9e3779b9);
    this.#s1 = mix(high ^ 0x7f4a7c15);
    this.#s2 = mix(this.#s0 + low + 0x3c6ef372);
    this.#s3 = mix(this.#s1 + high + 0xdaa66d2b) | 1; // Never all zero.
    for (let i = 0; i < 8; i++) this.nextUint32();
  }

  /** A uniform integer in [0, 2^32). */
  nextUint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#s1, 5), 7), 9) >>> 0;
    const shifted = this.#s1 << 9;
    this.#s2 ^= this.#s0;
    this.#s3 ^= this.#s1;
    this.#s1 ^= this.#s2;
    this.#s0 ^= this.#s3;
    this.#s2 ^= shifted;
    this.#s3 = rotateLeft(this.#s3, 11);
    return result;
  }

  /** A uniform integer in [0, n), without modulo bias; 1 <= n <= 2^32. */
  nextBelow(n: number): number {
    assert(Number.isInteger(n) && n >= 1 && n <= 2 ** 32, 'prng: the bound is in [1, 2^32]', { n });
    // The largest multiple of n that fits: what lies above it would favour small results, so it is drawn again.
    const fair = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const value = this.nextUint32();
      if (value < fair) return value % n;
    }
  }

  /** A uniform number in [0, 1), in steps of 2^-32. */
  nextFloat(): number {
    return this.nextUint32() / 2 ** 32;
  }
}

/** The finaliser of MurmurHash3: a bijection of 32 bits in which every input bit changes half of the output bits. */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
