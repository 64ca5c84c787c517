/**
 * bcrypt, which takes a tenth of a second by design.
 *
 * The thread steps back behind those that serve, and while they do it rests for as long as it works (pace.ts): a login
 * is to be slow for whoever logs in, and for nobody else. Its hashes are in the form that etcd writes (`$2a$`).
 */
import { getPriority, setPriority } from 'node:os';
import { compareSync, genSaltSync, hashSync } from 'bcryptjs';
import type { ComparePasswordTask, HashPasswordTask } from '../transport/tasks.js';
import { paced, type Surroundings } from './pace.js';

/** Of nice; ten of them leave a tenth of a processor that another thread wants, and all of one that nobody does. */
const stepsBack = 10;

// On Linux alone this is said of the thread; elsewhere it would be of the whole process.
if (process.platform === 'linux') setPriority(Math.min(getPriority() + stepsBack, 19));

/** Nobody notifies this cell: to wait for that is to sleep. */
const cell = new Int32Array(new SharedArrayBuffer(4));

const thread: Surroundings = {
  nowMs: () => performance.now(),
  rest: durationMs => void Atomics.wait(cell, 0, 0, durationMs),
};

/** The bcrypt text of a password. */
export function hashPassword({ password, cost, rests }: HashPasswordTask, surroundings = thread): string {
  const salt = genSaltSync(cost).replace(/^\$2b\$/, '$2a$');
  const hash = (): string => hashSync(password, salt);
  return rests ? paced(hash, surroundings) : hash();
}

/** Whether this is the password; a text that is no bcrypt text is nobody's. */
export function comparePassword({ password, hash, rests }: ComparePasswordTask, surroundings = thread): boolean {
  const compare = (): boolean => compareSync(password, hash);
  try {
    return rests ? paced(compare, surroundings) : compare();
  } catch {
    return false;
  }
}
