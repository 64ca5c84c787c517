/**
 * Proof of the proof: streams that are right pass, and for every predicate there are streams that break it and are
 * caught by it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { History } from './history.js';
import {
  type Exchange,
  isWanted,
  type KeyValue,
  type Violation,
  type WatchEvent,
  type WatchRecord,
  type WatchRequest,
  type WatchResponse,
  watchesOf,
} from './records.js';
import { etcd34, predicates, strict, validateWatch } from './validators.js';

/** Transactions of a small store: a value is a put, an empty value a deletion. */
const script: readonly (readonly [string, string][])[] = [
  [['a', 'a1']],
  [['b', 'b1']],
  [
    ['c', 'c1'],
    ['a', 'a2'],
    ['b', ''],
  ],
  [['a', '']],
  [['a', 'a3']],
  [
    ['b', 'b2'],
    ['a', 'a4'],
  ],
  [['c', 'c2']],
  [['a', 'a5']],
];

const events = play(script);
const history = new History([events]);
const all: WatchRequest = {
  ...{ key: 'a', rangeEnd: '\0', startRevision: 2, prevKv: true, progressNotify: true },
  ...{ fragment: false, noPut: false, noDelete: false, watchId: 0 },
};

function play(transactions: typeof script): WatchEvent[] {
  const state = new Map<string, KeyValue>();
  const nothing = { value: '', createRevision: 0, version: 0, lease: 0n };
  return transactions.flatMap((operations, at) =>
    operations.map(([key, value]): WatchEvent => {
      const modRevision = at + 2;
      const prevKv = state.get(key);
      if (value === '') {
        state.delete(key);
        return { type: 'delete', kv: { ...nothing, key, modRevision }, prevKv };
      }
      const createRevision = prevKv?.createRevision ?? modRevision;
      const kv = { key, value, createRevision, modRevision, version: (prevKv?.version ?? 0) + 1, lease: 0n };
      state.set(key, kv);
      return { type: 'put', kv, prevKv };
    }),
  );
}

function response(fields: Partial<WatchResponse>): WatchResponse {
  return {
    ...{ watchId: 0, revision: 9, created: false, canceled: false, compactRevision: 0, cancelReason: '' },
    ...{ fragment: false, events: [], compactionAsked: 0 },
    ...fields,
  };
}

/** A right stream: created, two revisions in each response, progress in the middle and at the end. */
function rightWatch(changes: Partial<WatchRequest> = {}): WatchRecord {
  const request = { ...all, ...changes };
  const wanted = events
    .filter(event => event.kv.modRevision >= request.startRevision && isWanted(event, request))
    .map(event => (request.prevKv ? event : { ...event, prevKv: undefined }));
  const upTo = (last: number) =>
    response({
      revision: last,
      events: wanted.filter(({ kv }) => kv.modRevision <= last && kv.modRevision > last - 2),
    });
  const responses = [
    response({ created: true }),
    ...[3, 5].map(upTo),
    response({ revision: 5 }),
    ...[7, 9].map(upTo),
    response({ watchId: -1 }),
  ];
  const isKept = ({ events, revision, created }: WatchResponse, at: number) =>
    created || events.length > 0 || ((at === 3 || at === 6) && revision >= request.startRevision);
  return { name: 'test', request, responses: responses.filter(isKept) };
}

/** The right watch with one response replaced by others. */
function changed(at: number, change: (right: WatchResponse) => readonly WatchResponse[], request = {}): WatchRecord {
  const { responses, ...rest } = rightWatch(request);
  return { ...rest, responses: responses.flatMap((right, place) => (place === at ? change(right) : [right])) };
}

/** The right watch with the events of one response replaced by others. */
function withEvents(at: number, change: (events: readonly WatchEvent[]) => readonly WatchEvent[], request = {}) {
  return changed(at, right => [{ ...right, events: change(right.events) }], request);
}

function mended(event: WatchEvent | undefined, kv: Partial<KeyValue>): WatchEvent {
  return { ...event!, kv: { ...event!.kv, ...kv } };
}

/** Watches that are wrong, each with what is wrong about it. */
const wrong: Readonly<Record<string, readonly [string, WatchRecord][]>> = {
  W1: [
    ['two revisions of a response are exchanged', withEvents(1, ([first, second]) => [second!, first!])],
    ['an old event comes later', changed(5, right => [right, response({ events: events.slice(0, 1) })])],
  ],
  W2: [
    ['a response comes twice', changed(2, right => [right, right])],
    ['an event is twice in a response', withEvents(1, ([first]) => [first!, first!])],
  ],
  W3: [
    [
      'a transaction is cut in two',
      changed(2, right => [
        { ...right, events: right.events.slice(0, 1) },
        { ...right, events: right.events.slice(1) },
      ]),
    ],
    ['a fragment nobody asked for', changed(2, right => [{ ...right, fragment: true }])],
  ],
  W4: [
    ['an event is missing', withEvents(2, list => list.filter(({ kv }) => kv.key !== 'b'))],
    ['a response is missing', changed(4, () => [])],
    ['an event that never was', withEvents(4, list => [mended(list[0], { key: 'x' }), ...list])],
    ['another value', withEvents(4, ([first, ...rest]) => [mended(first, { value: 'other' }), ...rest])],
    ['another lease', withEvents(4, ([first, ...rest]) => [mended(first, { lease: 7n }), ...rest])],
    ['a put is told as a deletion', withEvents(4, ([first, ...rest]) => [{ ...first!, type: 'delete' }, ...rest])],
  ],
  W5: [
    ['the first event is missing', withEvents(1, ([, second]) => [second!])],
    ['the first response is missing', changed(1, () => [])],
    ['a watch from now on begins too late', fromNow(events.filter(({ kv }) => kv.modRevision > 5))],
    ['cancelled though nothing is lost', changed(6, right => [right, cancelled(10, 10)])],
    ['cancelled by a compaction nobody asked for', changed(6, right => [right, cancelled(12, 11)])],
  ],
  W6: [
    ['progress before the events', changed(2, right => [response({ revision: 5 }), right])],
    ['progress of the stream before the events', changed(5, right => [response({ watchId: -1 }), right])],
    ['progress goes down', changed(6, right => [right, response({ revision: 8 })])],
    ['progress below an event', changed(3, right => [{ ...right, revision: 4 }])],
    ['the last events are missing', changed(5, () => [])],
  ],
  W7: [
    ['a put in spite of NOPUT', { ...rightWatch(), request: { ...all, noPut: true } }],
    ['a deletion in spite of NODELETE', { ...rightWatch(), request: { ...all, noDelete: true } }],
    ['a key out of range', { ...rightWatch(), request: { ...all, rangeEnd: 'c' } }],
    ['a key beside the single one', { ...rightWatch(), request: { ...all, rangeEnd: '' } }],
  ],
  W8: [
    ['prev_kv is missing', withEvents(2, ([first, second, ...rest]) => [first!, without(second), ...rest])],
    ['prev_kv of a created key', withEvents(1, ([first, ...rest]) => [{ ...first!, prevKv: first!.kv }, ...rest])],
    ['an older prev_kv', withEvents(5, ([first, second]) => [first!, { ...second!, prevKv: events[0]!.kv }])],
    ['nobody asked for it', { ...rightWatch(), request: { ...all, prevKv: false } }],
  ],
  W9: [
    ['a modification as a creation', withEvents(5, ([first, second]) => [first!, created(second)])],
    ['a creation as a modification', withEvents(1, ([first, ...rest]) => [mended(first, { version: 2 }), ...rest])],
    ['a deletion with a version', withEvents(2, list => list.map(event => mended(event, { version: 1 })))],
  ],
  W10: [
    ['not created', changed(0, () => [])],
    ['events before created', changed(1, right => [right, response({ created: true })])],
    ['events after cancelled', changed(4, right => [response({ canceled: true }), right])],
  ],
  W11: [
    ['a transaction in the order of its keys', withEvents(2, list => [list[1]!, list[2]!, list[0]!, ...list.slice(3)])],
    ['a transaction backwards', withEvents(4, ([a, b, c]) => [a!, c!, b!])],
  ],
  W12: [
    ['events of the past', { ...rightWatch(), request: { ...all, startRevision: 4 } }],
    ['progress of the past', changed(0, right => [right, response({ revision: 4 })], { startRevision: 6 })],
  ],
};

/** A watch without a start revision that was created at revision 3. */
function fromNow(list: readonly WatchEvent[]): WatchRecord {
  const responses = [response({ created: true, revision: 3 }), response({ events: list })];
  return { name: 'test', request: { ...all, startRevision: 0 }, responses };
}

function cancelled(compactRevision: number, compactionAsked: number): WatchResponse {
  return response({ canceled: true, compactRevision, compactionAsked, revision: 0 });
}

function without(event: WatchEvent | undefined): WatchEvent {
  return { ...event!, prevKv: undefined };
}

function created(event: WatchEvent | undefined): WatchEvent {
  return mended(event, { createRevision: event!.kv.modRevision, version: 1 });
}

function rulesOf(violations: readonly Violation[]): string[] {
  return [...new Set(violations.map(({ rule }) => rule))];
}

test('the history follows from its own events', () => {
  assert.deepEqual(history.flaws(), []);
  assert.equal(history.lastRevision, 9);
  assert.deepEqual(
    history.stateAt(4, { key: 'a', rangeEnd: '\0' }).map(({ key, value }) => [key, value]),
    [
      ['a', 'a2'],
      ['c', 'c1'],
    ],
  );
  assert.equal(history.pairAt('a', 5), undefined);
});

test('a history is not trusted when revisions are missing, watches disagree or versions jump', () => {
  const flawsOf = (...sources: WatchEvent[][]) => new History(sources).flaws().length;
  const half = events.slice(0, 5);
  assert.equal(flawsOf(half, events.slice(2)), 0);
  assert.ok(flawsOf(events.filter(({ kv }) => kv.modRevision !== 7)) > 0);
  assert.ok(flawsOf(events, [mended(half[0], { value: 'other' })]) > 0);
  assert.ok(flawsOf(events, half.slice(0, 4)) > 0, 'half a transaction');
  assert.ok(flawsOf(events.map(event => (event === half[0] ? mended(event, { version: 3 }) : event))) > 0);
  assert.ok(flawsOf(events.map(event => (event.kv.modRevision === 5 ? mended(event, { key: 'x' }) : event))) > 0);
});

test('streams that are right pass', () => {
  const right: WatchRecord[] = [
    rightWatch(),
    rightWatch({ startRevision: 5 }),
    rightWatch({ startRevision: 20 }),
    rightWatch({ noPut: true }),
    rightWatch({ noDelete: true }),
    rightWatch({ key: 'a', rangeEnd: '' }),
    rightWatch({ prevKv: false }),
    rightWatch({ noPut: true, noDelete: true }),
    fromNow(events.filter(({ kv }) => kv.modRevision > 3)),
    { ...rightWatch(), responses: [response({ created: true })] },
    // One that reads slowly is cancelled when compaction has passed it, and prev_kv may be gone before that.
    { ...rightWatch(), responses: [...rightWatch().responses.slice(0, 2), cancelled(7, 7)] },
    withEvents(4, list => list.map(event => without(event))),
  ];
  const compacted = right.at(-1)!;
  right[right.length - 1] = { ...compacted, responses: compacted.responses.map(r => ({ ...r, compactionAsked: 8 })) };
  for (const watch of right) assert.deepEqual(validateWatch(watch, history, strict), []);
});

test('fragments of one revision pass, complete or cut off', () => {
  const request = { ...all, fragment: true };
  const fragments = (right: WatchResponse) =>
    right.events.map((event, at, list) => ({ ...right, events: [event], fragment: at < list.length - 1 }));
  const complete = changed(2, fragments, request);
  assert.deepEqual(validateWatch(complete, history, strict), []);
  const cutOff = { ...complete, responses: complete.responses.slice(0, 4) };
  assert.equal(cutOff.responses.at(-1)?.fragment, true);
  assert.deepEqual(validateWatch(cutOff, history, strict), []);
});

test('what etcd 3.4 does not promise is not asked of it', () => {
  const overrun = wrong.W6!.find(([text]) => text.startsWith('progress of the stream'))![1];
  const early = wrong.W12!.find(([text]) => text.startsWith('progress'))![1];
  const lacking = wrong.W8!.find(([text]) => text.startsWith('prev_kv is missing'))![1];
  for (const watch of [overrun, early, { ...lacking, cancelAskedAt: 2 }]) {
    assert.notDeepEqual(validateWatch(watch, history, strict), []);
    assert.deepEqual(validateWatch(watch, history, etcd34), []);
  }
});

test('every predicate has a stream that breaks it', () => {
  assert.deepEqual(Object.keys(wrong), Object.keys(predicates));
});

for (const [rule, watches] of Object.entries(wrong)) {
  for (const [text, watch] of watches) {
    test(`${rule} catches: ${text}`, () => {
      const rules = rulesOf(validateWatch(watch, history, strict));
      assert.ok(rules.includes(rule), `caught by ${rules.join(', ') || 'nobody'}`);
    });
  }
}

const create: Exchange = { create: all };

function streamOf(...exchanges: (Exchange | WatchResponse)[]) {
  const isExchange = (item: Exchange | WatchResponse): item is Exchange => !('watchId' in item);
  return {
    name: 'stream',
    exchanges: exchanges.map(item => (isExchange(item) ? item : { received: item })),
  };
}

test('a stream is taken apart into its watches', () => {
  const { watches, violations } = watchesOf(
    streamOf(
      create,
      { create: { ...all, watchId: 7 } },
      response({ created: true, watchId: 7 }),
      response({ created: true, watchId: 0 }),
      response({ events: events.slice(0, 1), watchId: 7 }),
      response({ watchId: -1 }),
      { cancel: 7 },
      response({ watchId: 7, canceled: true }),
      response({ watchId: -1 }),
      response({ events: events.slice(0, 2), watchId: 0 }),
    ),
  );
  assert.deepEqual(violations, []);
  assert.deepEqual(
    watches.map(({ request, responses }) => [request.watchId, responses.length]),
    [
      [7, 4],
      [0, 4],
    ],
  );
});

test("the client's cancel is answered although a compaction came first, and only once", () => {
  const crossed = [create, response({ created: true }), { cancel: 0 }, cancelled(3, 3), response({ canceled: true })];
  assert.deepEqual(watchesOf(streamOf(...crossed)).violations, []);
  assert.equal(watchesOf(streamOf(...crossed, response({ canceled: true }))).violations.length, 1);
});

const strangers: readonly [string, readonly (Exchange | WatchResponse)[]][] = [
  ['created, and nobody asked', [response({ created: true })]],
  ['events for an unknown id', [create, response({ created: true }), response({ watchId: 1, events })]],
  ['events before created', [create, response({ events })]],
  ['events after cancelled', [create, response({ created: true }), cancelled(3, 3), response({ events })]],
  ['cancelled, and nobody asked', [create, response({ created: true }), cancelled(3, 3), cancelled(3, 3)]],
  ['created twice', [create, create, response({ created: true }), response({ created: true })]],
];
for (const [text, exchanges] of strangers) {
  test(`W10 catches in a stream: ${text}`, () => {
    assert.deepEqual(rulesOf(watchesOf(streamOf(...exchanges)).violations), ['W10']);
  });
}
