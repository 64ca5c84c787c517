/**
 * The entry of a task thread: every export is a job that a pool runs by its name. The jobs' modules are loaded with the
 * first of them, not with the pool.
 */
import type {
  CertificateTask,
  ComparePasswordTask,
  EncodedSnapshot,
  EncodeTask,
  HashPasswordTask,
  IssuedCertificates,
  RestoredSnapshot,
  RestoreTask,
  TaskOutcome,
} from '../src/transport/tasks.js';

export async function encodeSnapshot(task: EncodeTask): Promise<TaskOutcome<EncodedSnapshot>> {
  return (await import('../src/tasks/encode-snapshot.js')).encodeSnapshot(task);
}

export async function restoreSnapshot(task: RestoreTask): Promise<TaskOutcome<RestoredSnapshot>> {
  return (await import('../src/tasks/restore-snapshot.js')).restoreSnapshot(task);
}

export async function issueCertificates(task: CertificateTask): Promise<TaskOutcome<IssuedCertificates>> {
  return { value: await (await import('../src/tasks/certificates.js')).issueCertificates(task) };
}

export async function hashPassword(task: HashPasswordTask): Promise<string> {
  return (await import('../src/tasks/passwords.js')).hashPassword(task);
}

export async function comparePassword(task: ComparePasswordTask): Promise<boolean> {
  return (await import('../src/tasks/passwords.js')).comparePassword(task);
}
