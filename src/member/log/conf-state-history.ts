/**
 * The configurations a restart may have to begin with: the one in force at the compacted index and every later one,
 * with the index of the entry that brought it. The state store may be behind the log by several of them.
 *
 * Invariants: never empty; indexes ascend; the list is immutable, every change makes a new one.
 */
import type { ConfState } from '../raft/types.js';
import type { IndexedConfState } from './log-environment.js';

export type ConfStateHistory = readonly IndexedConfState[];

/** The one in force at `index`. */
export function confStateAt(history: ConfStateHistory, index: number): ConfState {
  let found = history[0]!;
  for (const candidate of history) {
    if (candidate.index <= index) found = candidate;
  }
  return found.confState;
}

/** With one more; one whose entry is known already came back through replay and changes nothing. */
export function withConfState(history: ConfStateHistory, added: IndexedConfState): ConfStateHistory {
  return added.index <= history[history.length - 1]!.index ? history : [...history, added];
}

/** Without those that no restart at or behind `index` can need. */
export function confStatesFrom(history: ConfStateHistory, index: number): ConfStateHistory {
  return history.filter((_, at) => at === history.length - 1 || history[at + 1]!.index > index);
}

/** Without those of entries behind `index`; they will be applied again. */
export function confStatesUpTo(history: ConfStateHistory, index: number): ConfStateHistory {
  return history.filter((state, at) => at === 0 || state.index <= index);
}
