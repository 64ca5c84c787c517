/**
 * The reference history: every change of a store from revision 1 on, in the order of the log.
 *
 * It is put together from whole-keyspace watches on several members, which must agree on every revision that more than
 * one of them saw. It is then trusted only after `flaws` has replayed it: no revision may be missing, and every version,
 * create revision and deletion must follow from what came before.
 */
import { inRange, type KeyRange, type KeyValue, type Violation, type WatchEvent } from './records.js';

export class History {
  /** Events by revision; a revision nobody saw is an empty place. */
  readonly #revisions: (readonly WatchEvent[] | undefined)[] = [];
  /** Puts and deletes of each key, ascending. */
  readonly #keys = new Map<string, WatchEvent[]>();
  readonly #disagreements: Violation[] = [];

  /** `sources`: what each of the watches saw, in order, whole revisions. */
  constructor(sources: readonly (readonly WatchEvent[])[]) {
    for (const source of sources) {
      for (const group of byRevision(source)) this.#add(group);
    }
    for (const events of this.#revisions) {
      for (const event of events ?? []) {
        const changes = this.#keys.get(event.kv.key);
        if (changes === undefined) this.#keys.set(event.kv.key, [event]);
        else changes.push(event);
      }
    }
  }

  #add(group: readonly WatchEvent[]): void {
    const revision = group[0]!.kv.modRevision;
    const known = this.#revisions[revision];
    if (known === undefined) this.#revisions[revision] = group;
    else if (known.length !== group.length || !known.every((event, at) => sameChange(event, group[at]!))) {
      const text = `two watches saw different events: ${known.map(describe)} and ${group.map(describe)}`;
      this.#disagreements.push({ rule: 'W4', where: `revision ${revision}`, text });
    }
  }

  get lastRevision(): number {
    return Math.max(1, this.#revisions.length - 1);
  }

  /** The events of one revision in the order of the transaction. */
  at(revision: number): readonly WatchEvent[] {
    return this.#revisions[revision] ?? [];
  }

  /** Events of the revisions from `first` to `last`, both included. */
  *between(first: number, last: number): Generator<WatchEvent> {
    const end = Math.min(last, this.#revisions.length - 1);
    for (let revision = Math.max(first, 0); revision <= end; revision++) yield* this.at(revision);
  }

  /** The pair of `key` as it was at `revision`. */
  pairAt(key: string, revision: number): KeyValue | undefined {
    const changes = this.#keys.get(key) ?? [];
    let low = 0;
    let high = changes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (changes[middle]!.kv.modRevision <= revision) low = middle + 1;
      else high = middle;
    }
    const last = changes[low - 1];
    return last?.type === 'put' ? last.kv : undefined;
  }

  /** All pairs of a range as they were at `revision`, ascending by key. */
  stateAt(revision: number, range: KeyRange): KeyValue[] {
    const keys = [...this.#keys.keys()].filter(key => inRange(key, range)).sort();
    return keys.map(key => this.pairAt(key, revision)).filter(pair => pair !== undefined);
  }

  /** What forbids to trust this history. */
  flaws(): Violation[] {
    const flaws = [...this.#disagreements];
    const add = (revision: number, text: string) =>
      flaws.push({ rule: 'history', where: `revision ${revision}`, text: `${text}` });
    const state = new Map<string, KeyValue>();
    for (let revision = 2; revision < this.#revisions.length; revision++) {
      const events = this.at(revision);
      if (events.length === 0) add(revision, 'no watch saw it');
      for (const event of events) {
        const { kv } = event;
        const before = state.get(kv.key);
        if (event.type === 'delete') {
          if (before === undefined) add(revision, `${kv.key} is deleted and was not there`);
          state.delete(kv.key);
          continue;
        }
        const version = (before?.version ?? 0) + 1;
        const createRevision = before?.createRevision ?? revision;
        if (kv.version !== version || kv.createRevision !== createRevision)
          add(revision, `${describe(event)} should have version ${version} and create revision ${createRevision}`);
        state.set(kv.key, kv);
      }
    }
    return flaws;
  }
}

/** Cuts events into their revisions. */
export function byRevision(events: readonly WatchEvent[]): WatchEvent[][] {
  const groups: WatchEvent[][] = [];
  for (const event of events) {
    const last = groups.at(-1);
    if (last?.[0]?.kv.modRevision === event.kv.modRevision) last.push(event);
    else groups.push([event]);
  }
  return groups;
}

export function samePair(a: KeyValue | undefined, b: KeyValue | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const sameNumbers =
    a.createRevision === b.createRevision && a.modRevision === b.modRevision && a.version === b.version;
  return sameNumbers && a.lease === b.lease && a.key === b.key && a.value === b.value;
}

/** Whether two events tell of the same change; what prev_kv says depends on who asked. */
export function sameChange(a: WatchEvent, b: WatchEvent): boolean {
  return a.type === b.type && samePair(a.kv, b.kv);
}

export function describe(event: WatchEvent): string {
  const { key, modRevision, createRevision, version, value } = event.kv;
  const rest = event.type === 'put' ? ` created ${createRevision} version ${version} "${value.slice(0, 24)}"` : '';
  return `${modRevision} ${event.type} ${key}${rest}`;
}
