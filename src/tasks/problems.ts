/**
 * What a task may fail of without being broken: a file that is not what it should be, a disk that refuses.
 */
import { StorageError } from '../member/store/storage-error.js';
import { BboltError } from '../snapshot/bbolt/format.js';
import { SnapshotError } from '../snapshot/schema.js';

/**
 * The error's one line for whoever asked, with the name of the snapshot file if that is to blame; an error that no file
 * or disk explains is thrown on.
 */
export function messageOf(error: unknown, file = ''): string {
  if (error instanceof SnapshotError || error instanceof BboltError) {
    return error.message.includes(file) ? error.message : `${file}: ${error.message}`;
  }
  // The operating system's: no space, no permission, a failing disk.
  const isSystems = error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string';
  if (error instanceof StorageError || isSystems) return (error as Error).message;
  throw error;
}
