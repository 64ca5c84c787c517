/**
 * Passwords, off the main thread and off the members': hashed and compared in threads of their own.
 *
 *     job -> as many under way as there are threads | at most `waitingMax` waiting | more: refused
 *
 * The threads are not those of the other tasks: they have stepped back behind everybody else for good
 * (tasks/passwords.ts) and rest while those are busy. Who gives up while waiting costs nothing; a job that has begun is
 * finished.
 */
import { availableParallelism } from 'node:os';
import type { Piscina } from 'piscina';
import { tableError } from '../../client/errors.js';
import type { ComparePasswordTask, HashPasswordTask } from '../../transport/tasks.js';
import { EtcdErrorCode } from '../../wire/errors.js';

/** A processor is left to those who serve. */
const threadsMax = Math.max(1, Math.min(4, availableParallelism() - 1));
/**
 * Logins that wait. The last of them waits for three or four seconds, and for about ten while others want the processors
 * and bcrypt rests; clients wait for five to seven, and who gives up makes room.
 */
const waitingMax = 32 * threadsMax;
const idleMs = 10_000;
/** Of its time, what the main thread takes at least when it serves others: 0.01 to 0.03 are the logins themselves. */
const servingShare = 0.08;
/** A shorter look tells nothing. */
const lookMsMin = 50;
/** What bcrypt looks at. */
const passwordBytesMax = 72;

const workerUrl = new URL('../../../workers/task.js', import.meta.url).href;

/** A gate for jobs: so many pass, so many wait, the others are turned away. */
export class Gate {
  readonly #waiting = new Set<() => void>();
  readonly #waitingMax: number;
  #free: number;

  constructor(atOnce: number, waiting: number) {
    this.#free = atOnce;
    this.#waitingMax = waiting;
  }

  /** Runs a job when there is room. Rejects with `too many requests`, or with the signal's reason while waiting. */
  async run<Value>(job: () => Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
    await this.#enter(signal);
    try {
      return await job();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  #enter(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      if (this.#free > 0) {
        this.#free -= 1;
        return resolve();
      }
      if (this.#waiting.size >= this.#waitingMax) return reject(tableError(EtcdErrorCode.RequestTooManyRequests));
      const pass = (): void => {
        this.#waiting.delete(pass);
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        this.#waiting.delete(pass);
        reject(signal?.reason as Error);
      };
      this.#waiting.add(pass);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }
}

let lookedAt = performance.eventLoopUtilization();
let wasServing = false;

/** Whether this thread serves others than those who log in, by what it did since the job before. */
function isServing(): boolean {
  const { active, idle, utilization } = performance.eventLoopUtilization(lookedAt);
  if (active + idle < lookMsMin) return wasServing;
  lookedAt = performance.eventLoopUtilization();
  wasServing = utilization > servingShare;
  return wasServing;
}

const gate = new Gate(threadsMax, waitingMax);
let pool: Promise<Piscina> | undefined;

/** The bcrypt text of a password, in base64 as etcd's requests carry it. Rejects with EtcdError. */
export async function hashPassword(password: string, cost: number, signal?: AbortSignal): Promise<string> {
  if (Buffer.byteLength(password) > passwordBytesMax) throw tableError(EtcdErrorCode.PasswordTooLong);
  const task = (): HashPasswordTask => ({ password, cost, rests: isServing() });
  const hash = (await gate.run(() => run('hashPassword', task()), signal)) as string;
  return Buffer.from(hash).toString('base64');
}

/** Whether a password belongs to a bcrypt text. Rejects with EtcdError. */
export async function comparePassword(password: string, hash: string, signal?: AbortSignal): Promise<boolean> {
  const task = (): ComparePasswordTask => ({ password, hash, rests: isServing() });
  return (await gate.run(() => run('comparePassword', task()), signal)) as boolean;
}

async function run(name: string, task: HashPasswordTask | ComparePasswordTask): Promise<unknown> {
  pool ??= createPool();
  return await (await pool).run(task, { name });
}

async function createPool(): Promise<Piscina> {
  // Loaded when asked for: a cluster nobody logs in to does without it.
  const { Piscina } = await import('piscina');
  return new Piscina({ filename: workerUrl, minThreads: 0, maxThreads: threadsMax, idleTimeout: idleMs });
}
