/**
 * What a task may fail of without being broken: a file that is not what it should be, a disk that refuses.
 */
import { StorageError } from '../member/store/storage-error.js';
import { BboltError } from '../snapshot/bbolt/format.js';
import { SnapshotError } from '../snapshot/schema.js';

/** The error's one line for whoever asked; an error that no file or disk explains is thrown on. */
export function messageOf(error: unknown): string {
  const known =
    error instanceof SnapshotError ||
    error instanceof BboltError ||
    error instanceof StorageError ||
    // The operating system's: no space, no permission, a failing disk.
    (error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string');
  if (!known) throw error;
  return (error as Error).message;
}
