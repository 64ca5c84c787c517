/**
 * bcrypt, which takes a tenth of a second by design.
 *
 * The thread steps back behind those that serve: a login is to be slow for whoever logs in, and for nobody else. Its
 * hashes are in the form that etcd writes (`$2a$`).
 */
import { getPriority, setPriority } from 'node:os';
import { compareSync, genSaltSync, hashSync } from 'bcryptjs';
import type { ComparePasswordTask, HashPasswordTask } from '../transport/tasks.js';

/** Of nice; ten of them leave a tenth of a processor that another thread wants, and all of one that nobody does. */
const stepsBack = 10;

// On Linux alone this is said of the thread; elsewhere it would be of the whole process.
if (process.platform === 'linux') setPriority(Math.min(getPriority() + stepsBack, 19));

/** The bcrypt text of a password. */
export function hashPassword({ password, cost }: HashPasswordTask): string {
  return hashSync(password, genSaltSync(cost).replace(/^\$2b\$/, '$2a$'));
}

/** Whether this is the password; a text that is no bcrypt text is nobody's. */
export function comparePassword({ password, hash }: ComparePasswordTask): boolean {
  try {
    return compareSync(password, hash);
  } catch {
    return false;
  }
}
