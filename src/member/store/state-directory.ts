/**
 * Which directory holds the state. The log names the current generation; a received snapshot is built in the next one
 * and becomes current in the log transaction that names it. Every other `state-<n>` is a leftover of a crash or of the
 * generation before.
 */
import * as path from 'node:path';
import { type Files, nodeFiles } from './files.js';

const PATTERN = /^state-(\d+)$/;

/** The directory of a state generation. */
export function stateDirectory(directory: string, generation: number): string {
  return path.join(directory, `state-${generation}`);
}

/** Removes every state directory but the current one. No environment in them may be open. */
export function removeOtherStateDirectories(
  directory: string,
  currentGeneration: number,
  files: Files = nodeFiles,
): void {
  for (const name of files.list(directory)) {
    const match = PATTERN.exec(name);
    if (match !== null && Number(match[1]) !== currentGeneration) files.remove(path.join(directory, name));
  }
}
