/**
 * The judgement of a run: everything that was recorded against the reference history, and the history against
 * itself and against what writers and readers were told.
 */
import type { ApiServer } from './api-server.js';
import { History } from './history.js';
import type { Ledger } from './ledger.js';
import { type Violation, type WatchEvent, watchesOf } from './records.js';
import type { Reflector } from './reflector.js';
import { type Rules, validateWatch } from './validators.js';
import type { WatchClient } from './watch-client.js';

export interface Evidence {
  readonly ledger: Ledger;
  readonly reflectors: readonly Reflector[];
  readonly clients: readonly WatchClient[];
  readonly servers: readonly ApiServer[];
  /** What the watches of all keys saw. */
  readonly sources: readonly (readonly WatchEvent[])[];
  readonly lastRevision: number;
  /** Who had not seen the last revision when time was up. */
  readonly late: readonly string[];
}

export interface Report {
  readonly violations: readonly Violation[];
  /** How much was judged: a run that judged little proves little. */
  readonly counts: Readonly<Record<string, number>>;
  /** How streams and calls failed, with the number of times. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Judges what a run left; it may be judged by several rules. */
export function judge(evidence: Evidence, rules: Rules): Report {
  const { ledger, reflectors, clients, sources, lastRevision } = evidence;
  const history = new History(sources);
  const violations: Violation[] = evidence.late.map(text => ({ rule: 'liveness', where: 'end', text }));
  violations.push(...history.flaws());
  if (history.lastRevision !== lastRevision) {
    const text = `the history ends with ${history.lastRevision}, the last write was ${lastRevision}`;
    violations.push({ rule: 'history', where: 'end', text });
  }
  violations.push(...ledger.check(history));
  for (const reflector of reflectors) violations.push(...reflector.check(history, lastRevision));
  const counts = { watches: 0, events: 0, progress: 0, compactionCancels: 0 };
  for (const stream of clients.flatMap(({ records }) => records)) {
    const { watches, violations: strays } = watchesOf(stream);
    violations.push(...strays);
    for (const watch of watches) {
      violations.push(...validateWatch(watch, history, rules));
      counts.watches += 1;
      for (const { events, canceled, created, compactRevision } of watch.responses) {
        counts.events += events.length;
        if (canceled && compactRevision > 0) counts.compactionCancels += 1;
        if (events.length === 0 && !canceled && !created) counts.progress += 1;
      }
    }
  }
  return {
    violations,
    counts: {
      ...{ revisions: history.lastRevision, acknowledged: ledger.count('acknowledged') },
      ...{ refused: ledger.count('refused'), unknown: ledger.count('unknown'), reads: ledger.reads.length },
      ...{ compactions: ledger.compactions, streams: sum(clients.map(({ records }) => records.length)), ...counts },
      longestWritePauseMs: Math.round(ledger.longestPauseMs),
      lists: sum(reflectors.map(({ lives }) => lives.length)),
    },
    failures: merged([...clients.map(({ ends }) => ends), ...evidence.servers.map(({ failures }) => failures)]),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

function merged(maps: readonly ReadonlyMap<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [text, count] of maps.flatMap(map => [...map])) all[text] = (all[text] ?? 0) + count;
  return all;
}
