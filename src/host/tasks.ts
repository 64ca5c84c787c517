/**
 * Long work off the main thread and off the members' turns: a pool of task threads, made when it is first needed.
 *
 * Two at a time: what waits for a thread has begun nothing yet. A thread that has been idle for a while ends by itself;
 * none is ended from outside, for it may have a store open.
 */
import type { Piscina } from 'piscina';
import type {
  CertificateTask,
  EncodedSnapshot,
  EncodeTask,
  IssuedCertificates,
  RestoredSnapshot,
  RestoreTask,
  TaskOutcome,
} from '../transport/tasks.js';
import { StartError } from './data-directory.js';

const threadsMax = 2;
const idleMs = 5_000;

const workerUrl = new URL('../../workers/task.js', import.meta.url).href;

/** The jobs: what each is given, and what it finds out. */
interface Tasks {
  readonly encodeSnapshot: readonly [EncodeTask, EncodedSnapshot];
  readonly restoreSnapshot: readonly [RestoreTask, RestoredSnapshot];
  readonly issueCertificates: readonly [CertificateTask, IssuedCertificates];
}

let pool: Promise<Piscina> | undefined;

/**
 * Runs a job of workers/task.ts; its port, if it has one, moves to the thread. Rejects with StartError, one line, when
 * it cannot be done.
 */
export async function runTask<Name extends keyof Tasks>(name: Name, task: Tasks[Name][0]): Promise<Tasks[Name][1]> {
  pool ??= createPool();
  const transferList = 'port' in task ? [task.port] : [];
  const outcome: TaskOutcome<Tasks[Name][1]> = await (await pool).run(task, { name, transferList });
  if ('problem' in outcome) throw new StartError(outcome.problem);
  return outcome.value;
}

async function createPool(): Promise<Piscina> {
  // Loaded when asked for: a cluster that makes no snapshot starts without it.
  const { Piscina } = await import('piscina');
  return new Piscina({ filename: workerUrl, minThreads: 0, maxThreads: threadsMax, idleTimeout: idleMs });
}
