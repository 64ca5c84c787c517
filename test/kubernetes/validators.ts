/**
 * The watch guarantees as predicates over recorded watches and the reference history.
 *
 *   W1 ordered       revisions never go down           W7  filters          NOPUT, NODELETE and the range hold
 *   W2 unique        no (revision, key) twice          W8  prev_kv          the state one revision before
 *   W3 atomic        a revision is in one response     W9  creation         version 1 iff the key was not there
 *   W4 reliable      nothing missing, nothing made up  W10 created first    and nothing after cancelled
 *   W5 resumable     from the start revision on        W11 order            of a transaction's operations
 *   W6 bookmarkable  progress p: all <= p were sent    W12 future start     nothing comes from before it
 *
 * A predicate yields one text for each thing that is wrong. They are independent: a broken stream may break several.
 * Pure: records in, violations out.
 */
import { describe, type History, sameChange, samePair } from './history.js';
import { isProgress, isWanted, streamWatchId, type Violation, type WatchEvent, type WatchRecord } from './records.js';

/** What the server under test is known not to keep. */
export interface Rules {
  /** etcd before 3.4.25 and 3.5.8 answers manual progress requests at once, whatever is still to be sent. */
  readonly manualProgressMayOverrun: boolean;
  /** etcd before 3.5.22 sends progress responses before a start revision that lies in the future. */
  readonly progressMayPrecedeStart: boolean;
  /**
   * etcd notes that a watch wants prev_kv after it has created the watch, and forgets it before it has sent what lies
   * before the cancellation.
   */
  readonly prevKvMayLackAtEnds: boolean;
}

export const strict: Rules = {
  ...{ manualProgressMayOverrun: false, progressMayPrecedeStart: false, prevKvMayLackAtEnds: false },
};
export const etcd35: Rules = { ...strict, progressMayPrecedeStart: true, prevKvMayLackAtEnds: true };
export const etcd34: Rules = { ...etcd35, manualProgressMayOverrun: true };

type Predicate = (watch: WatchRecord, history: History, rules: Rules) => Iterable<string>;

export const predicates: Readonly<Record<string, Predicate>> = {
  W1: ordered,
  W2: unique,
  W3: atomic,
  W4: reliable,
  W5: resumable,
  W6: bookmarkable,
  W7: filtered,
  W8: previous,
  W9: creation,
  W10: createdFirst,
  W11: transactionOrder,
  W12: futureStart,
};

/** A watch that is wrong in one place is often wrong in thousands. */
const violationsMax = 3;

/** Everything that is wrong with one watch, a few texts for each predicate. */
export function validateWatch(watch: WatchRecord, history: History, rules: Rules): Violation[] {
  const violations: Violation[] = [];
  for (const [rule, predicate] of Object.entries(predicates)) {
    let count = 0;
    for (const text of predicate(watch, history, rules)) {
      violations.push({ rule, where: watch.name, text });
      if (++count === violationsMax) break;
    }
  }
  return violations;
}

function eventsOf(watch: WatchRecord): WatchEvent[] {
  return watch.responses.flatMap(response => response.events);
}

function identity(event: WatchEvent): string {
  return `${event.kv.modRevision} ${event.kv.key}`;
}

/** The first revision the watch is to tell of. */
function startOf(watch: WatchRecord): number {
  return watch.request.startRevision || (watch.responses[0]?.revision ?? 0) + 1;
}

function* ordered(watch: WatchRecord): Generator<string> {
  let last = 0;
  for (const event of eventsOf(watch)) {
    if (event.kv.modRevision < last) yield `${describe(event)} after revision ${last}`;
    last = event.kv.modRevision;
  }
}

function* unique(watch: WatchRecord): Generator<string> {
  const seen = new Set<string>();
  for (const event of eventsOf(watch)) {
    if (seen.has(identity(event))) yield `${describe(event)} came twice`;
    seen.add(identity(event));
  }
}

function* atomic(watch: WatchRecord): Generator<string> {
  let last = 0;
  let open = false;
  for (const { events, fragment } of watch.responses) {
    if (fragment && !watch.request.fragment) yield 'a fragment for a watch that did not ask for fragments';
    const first = events[0];
    if (first === undefined) continue;
    if (first.kv.modRevision === last && !open) yield `revision ${last} is in two responses`;
    last = events.at(-1)!.kv.modRevision;
    open = fragment;
  }
}

function* reliable(watch: WatchRecord, history: History): Generator<string> {
  const events = eventsOf(watch);
  const first = events[0]?.kv.modRevision ?? 0;
  const lastResponse = watch.responses.findLast(response => response.events.length > 0);
  // The end of a response that was cut and never completed may be the middle of a revision.
  const last = (events.at(-1)?.kv.modRevision ?? 0) - (lastResponse?.fragment === true ? 1 : 0);
  const received = new Map(events.map(event => [identity(event), event]));
  for (const change of history.between(first, last)) {
    if (isWanted(change, watch.request) && !received.has(identity(change))) yield `${describe(change)} is missing`;
  }
  for (const event of events) {
    const change = history.at(event.kv.modRevision).find(({ kv }) => kv.key === event.kv.key);
    if (change === undefined) yield `${describe(event)} never happened`;
    else if (!sameChange(change, event)) yield `${describe(event)} was ${describe(change)}`;
  }
}

function* resumable(watch: WatchRecord, history: History): Generator<string> {
  const start = startOf(watch);
  const first = watch.responses.find(response => response.events.length > 0)?.events[0];
  if (first !== undefined) {
    for (const change of history.between(start, first.kv.modRevision - 1)) {
      if (isWanted(change, watch.request)) yield `${describe(change)} is missing, asked for from ${start} on`;
    }
  }
  let next = start;
  for (const response of watch.responses) {
    const { compactRevision, compactionAsked } = response;
    const last = response.events.at(-1)?.kv.modRevision ?? 0;
    if (last >= next) next = last + 1;
    if (!response.canceled || compactRevision === 0) continue;
    if (next >= compactRevision) yield `cancelled by compaction ${compactRevision}, and all from ${next} on was there`;
    if (compactRevision > compactionAsked) yield `cancelled by compaction ${compactRevision}, which nobody asked for`;
  }
}

function* bookmarkable(watch: WatchRecord, history: History, rules: Rules): Generator<string> {
  let bookmark = 0;
  let last = 0;
  let received = 0;
  let expected = 0;
  let expectedUpTo = startOf(watch) - 1;
  for (const response of watch.responses) {
    for (const event of response.events) {
      if (event.kv.modRevision <= bookmark) yield `${describe(event)} after progress ${bookmark}`;
      last = event.kv.modRevision;
      received += 1;
    }
    if (!isProgress(response)) continue;
    if (rules.manualProgressMayOverrun && response.watchId === streamWatchId) continue;
    if (response.revision < bookmark) yield `progress ${response.revision} after progress ${bookmark}`;
    if (response.revision < last) yield `progress ${response.revision} after an event of revision ${last}`;
    bookmark = Math.max(bookmark, response.revision);
    for (const change of history.between(expectedUpTo + 1, bookmark)) {
      if (isWanted(change, watch.request)) expected += 1;
    }
    expectedUpTo = Math.max(expectedUpTo, bookmark);
    if (received < expected) yield `progress ${bookmark} after ${received} of the ${expected} events up to there`;
  }
}

function* filtered(watch: WatchRecord): Generator<string> {
  for (const event of eventsOf(watch)) {
    if (!isWanted(event, watch.request)) yield `${describe(event)} was not asked for`;
  }
}

function* previous(watch: WatchRecord, history: History, rules: Rules): Generator<string> {
  const firstOfAll = watch.responses.findIndex(({ events }) => events.length > 0);
  const cancelAskedAt = watch.cancelAskedAt ?? Number.POSITIVE_INFINITY;
  for (const [at, { events, compactionAsked }] of watch.responses.entries()) {
    const isExcused = rules.prevKvMayLackAtEnds && (at === firstOfAll || at >= cancelAskedAt);
    for (const event of events) {
      const { key, modRevision } = event.kv;
      if (event.prevKv === undefined) {
        const mayLack = isExcused || modRevision - 1 < compactionAsked;
        const before = history.pairAt(key, modRevision - 1);
        if (watch.request.prevKv && before !== undefined && !mayLack) yield `${describe(event)} has no prev_kv`;
        continue;
      }
      if (!watch.request.prevKv) yield `${describe(event)} has a prev_kv nobody asked for`;
      const before = history.pairAt(key, modRevision - 1);
      if (samePair(before, event.prevKv)) continue;
      yield `${describe(event)} says version ${event.prevKv.version} of revision ${event.prevKv.modRevision} was before`;
    }
  }
}

function* creation(watch: WatchRecord, history: History): Generator<string> {
  for (const event of eventsOf(watch)) {
    const { key, createRevision, modRevision, version } = event.kv;
    if (event.type === 'delete') {
      if (createRevision !== 0 || version !== 0) yield `${describe(event)} has a create revision or a version`;
      continue;
    }
    const isNew = history.pairAt(key, modRevision - 1) === undefined;
    const isCreate = createRevision === modRevision;
    if (isCreate !== isNew || (version === 1) !== isNew)
      yield `${describe(event)}: the key was ${isNew ? 'not ' : ''}there`;
  }
}

function* createdFirst(watch: WatchRecord): Generator<string> {
  let canceled = false;
  for (const [at, response] of watch.responses.entries()) {
    if (response.created !== (at === 0)) yield at === 0 ? 'the first response is not created' : 'created twice';
    if (response.created && response.events.length > 0) yield 'created with events';
    if (canceled) yield `a response of revision ${response.revision} after cancelled`;
    canceled ||= response.canceled;
  }
}

function* transactionOrder(watch: WatchRecord, history: History): Generator<string> {
  let place = -1;
  let revision = 0;
  for (const event of eventsOf(watch)) {
    if (event.kv.modRevision !== revision) place = -1;
    revision = event.kv.modRevision;
    const found = history.at(revision).findIndex(({ kv }) => kv.key === event.kv.key);
    if (found < place) yield `${describe(event)} is out of its transaction's order`;
    place = found;
  }
}

function* futureStart(watch: WatchRecord, _history: History, rules: Rules): Generator<string> {
  const { startRevision } = watch.request;
  for (const response of watch.responses) {
    const early = response.events.find(event => event.kv.modRevision < startRevision);
    if (early !== undefined) yield `${describe(early)} is before the start revision ${startRevision}`;
    if (!isProgress(response) || response.revision >= startRevision) continue;
    if (!rules.progressMayPrecedeStart) yield `progress ${response.revision} before start revision ${startRevision}`;
  }
}
