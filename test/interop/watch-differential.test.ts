/**
 * The same random watch programs on two servers: every watcher sees the same events, every control is answered alike
 * (test/support/watch-run.ts says what is compared). Releases of etcd are compared with each other first.
 *
 *   KVORUM_WATCH_PROGRAMS   programs per pair (default 20)
 *   KVORUM_WATCH_SEED       seed of the first program (default 1)
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { align, type Family, firstDifference, sideOf } from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { GrpcClient } from '../support/grpc-client.js';
import { comparableWatches, watchDifferences } from '../support/known-differences.js';
import { decodeMessage, describeMessage, encodeMessage, type Message, type Value } from '../support/messages.js';
import { startSubjects } from '../support/subject.js';
import { describeWatchStep, generateWatchProgram, type WatchProgramOptions } from '../support/watch-programs.js';
import { runWatchProgram, type WatchObservation, type WatchSide, type WatchWire } from '../support/watch-run.js';

const firstSeed = Number(process.env.KVORUM_WATCH_SEED ?? 1);
const programs = Number(process.env.KVORUM_WATCH_PROGRAMS ?? 20);
/** Every so many programs one has values that fill responses. */
const bigEvery = 20;
const shrinkTrialsMax = 100;
/** A trial may last as long as something is waited for that does not come. */
const shrinkMaxMs = 60_000;

const pairs: readonly { left: Family; right: Family; members: 1 | 3 }[] = [
  { left: 'etcd-3.4', right: 'etcd-3.5', members: 1 },
  { left: 'kvorum', right: 'etcd-3.5', members: 3 },
  { left: 'kvorum', right: 'etcd-3.4', members: 1 },
];

// Side by side: most of the time they wait for the rounds in which real etcd catches up its watchers.
test(`watchers of ${programs} random programs see the same on two servers`, { concurrency: true }, t =>
  Promise.all(
    pairs.map(({ left, right, members }) =>
      t.test(`${left} and ${right} with ${members} member(s)`, one => comparePair(one, left, right, members)),
    ),
  ).then(() => {}),
);

async function comparePair(t: TestContext, left: Family, right: Family, members: 1 | 3): Promise<void> {
  for (const peer of ['3.4', '3.5'] as const) if ((await requireEtcd(t, peer)) === undefined) return;
  await using sides = await startSides(left, right, members);
  const met = new Map<string, number>();
  const seen = { events: 0, controls: 0, refused: new Set<string>() };
  for (let seed = firstSeed; seed < firstSeed + programs; seed++) {
    const result = await compareOnce(seed, sides.both, met);
    if (result.difference !== undefined) assert.fail(await shrunk(seed, sides.both, result));
    for (const { controls, watchers } of result.observation.streams) {
      seen.controls += controls.length;
      for (const { events } of watchers) seen.events += events.length;
      for (const { response } of controls) seen.refused.add(response.cancel_reason as string);
    }
  }
  t.diagnostic(`${seen.events} events of watchers, ${seen.controls} controls, refused: ${[...seen.refused]}`);
  for (const [name, count] of met) t.diagnostic(`known difference "${name}": ${count} times`);
  assert.ok(seen.events > 20 * programs, 'the programs make events');
}

test('a falsified event is found and shrunk to the few steps that show it', async () => {
  await using sides = await startSides('kvorum', 'kvorum', 1);
  const [left, right] = sides.both;
  // A server that forgets the pair before a delete.
  const forgetful: WatchSide = {
    ...left,
    openWatch: stream => changed(left.openWatch(stream), withoutPairBeforeDelete),
  };
  for (let seed = firstSeed; ; seed++) {
    const result = await compareOnce(seed, [forgetful, right], new Map());
    if (result.difference === undefined) continue;
    const text = await shrunk(seed, [forgetful, right], result);
    assert.match(text, /\.prev_kv:/);
    const steps = text.split('\n').filter(line => /^ +\d+\. /.test(line));
    assert.ok(steps.length <= 4, `a watcher, a pair, a delete:\n${text}`);
    break;
  }
});

test('an event that is delivered twice or out of order is found', async () => {
  await using sides = await startSides('kvorum', 'kvorum', 1);
  const [left, right] = sides.both;
  const twice = (response: Message) => ({ ...response, events: (response.events as Message[]).flatMap(e => [e, e]) });
  const backwards = (response: Message) => ({ ...response, events: (response.events as Message[]).toReversed() });
  for (const [name, change] of [
    ['twice', twice],
    ['backwards', backwards],
  ] as const) {
    const wrong: WatchSide = { ...left, openWatch: stream => changed(left.openWatch(stream), change) };
    let found: string | undefined;
    for (let seed = firstSeed; found === undefined && seed < firstSeed + programs; seed++) {
      found = (await compareOnce(seed, [wrong, right], new Map())).difference;
    }
    assert.ok(found !== undefined, name);
  }
});

/** A stream on which the responses with events of a program's watchers are changed. */
function changed(wire: WatchWire, change: (response: Message) => Message): WatchWire {
  return {
    send: message => wire.send(message),
    cancel: () => wire.cancel(),
    status: wire.status,
    async *[Symbol.asyncIterator]() {
      for await (const message of wire) {
        const response = decodeMessage('WatchResponse', message);
        const concerns = (response.events as Message[]).length > 0 && (response.watch_id as bigint) < 1_000_000n;
        yield concerns ? encodeMessage('WatchResponse', change(response)) : message;
      }
    },
  };
}

function withoutPairBeforeDelete(response: Message): Message {
  const events = (response.events as Message[]).map(event =>
    event.type === 1 ? { ...event, prev_kv: undefined } : event,
  );
  return { ...response, events };
}

test('a difference between watches is known only with its reason', () => {
  for (const { name, reason } of watchDifferences) assert.ok(reason.length > 20, `${name} has a reason`);
});

interface Compared {
  readonly difference: string | undefined;
  readonly observation: WatchObservation;
  readonly steps: readonly string[];
}

/** Runs one program, or the steps of it in `keep`, on both sides. */
async function compareOnce(
  seed: number,
  sides: readonly [WatchSide, WatchSide],
  met: Map<string, number>,
  keep?: ReadonlySet<number>,
): Promise<Compared> {
  const options = optionsOf(seed);
  let steps: string[] = [];
  const program = (base: bigint) => {
    const kept = generateWatchProgram(seed, base, options).filter((_, index) => keep?.has(index) ?? true);
    steps = kept.map(describeWatchStep);
    return kept;
  };
  const runs = await Promise.allSettled(sides.map(side => runWatchProgram(side, options.streams, program)));
  const [left, right] = runs.map(run => (run.status === 'fulfilled' ? run.value : undefined));
  const failed = runs.flatMap(run => (run.status === 'rejected' ? [String((run.reason as Error).stack)] : []));
  const empty: WatchObservation = { family: 'kvorum', writes: [], streams: [], complaints: [] };
  if (left === undefined || right === undefined) {
    return { difference: failed.join('\n'), observation: empty, steps };
  }
  const complaints = [...left.complaints, ...right.complaints];
  if (complaints.length > 0) return { difference: complaints.join('\n'), observation: left, steps };
  const [a, b] = [comparableWatches(left, right.family, met), comparableWatches(right, left.family, met)];
  const path = firstDifference(a, b);
  const difference = path === undefined ? undefined : `at ${path}:\n${valueAt(a, path)}\n${valueAt(b, path)}`;
  return { difference, observation: left, steps };
}

/** The failing program, made as short as a few dozen trials can, as text. */
async function shrunk(seed: number, sides: readonly [WatchSide, WatchSide], found: Compared): Promise<string> {
  const [left, right] = [sides[0].side, sides[1].side];
  const alignment = { ...{ undefinedSortTargets: false, leases: true }, revisionsInTxns: true };
  let smallest = found;
  let kept = generateWatchProgram(seed, 0n, optionsOf(seed)).map((_, index) => index);
  let trials = 0;
  const deadline = performance.now() + shrinkMaxMs;
  const more = () => trials < shrinkTrialsMax && performance.now() < deadline;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length && more(); trials++) {
      const candidate = [...kept.slice(0, from), ...kept.slice(from + size)];
      await align(left, right, { ...alignment, bigValues: false, operationsMax: 1 });
      const result = await compareOnce(seed, sides, new Map(), new Set(candidate));
      if (result.difference === undefined) from += size;
      else {
        smallest = result;
        kept = candidate;
      }
    }
  }
  return [
    `${left.name} and ${right.name} differ (KVORUM_WATCH_SEED=${seed} KVORUM_WATCH_PROGRAMS=1) ${smallest.difference}`,
    'Steps since the store was empty and compacted:',
    ...smallest.steps.map((step, index) => `  ${index + 1}. ${step}`),
  ].join('\n');
}

function optionsOf(seed: number): WatchProgramOptions {
  return { streams: 1 + (seed % 3), stepsMax: 60, bigValues: seed % bigEvery === 0 };
}

/** The value at a path that firstDifference gave. */
function valueAt(root: Message, path: string): string {
  let value: Value = root;
  for (const name of path.split(/[.[\]]+/).filter(step => step !== '')) value = (value as Message | undefined)?.[name];
  return value === undefined ? 'nothing' : describeMessage(value);
}

async function startSides(left: Family, right: Family, members: 1 | 3) {
  const subjects = await startSubjects([left, right], { members });
  const clients = await Promise.all(
    subjects.map(subject => Promise.all(subject.endpoints.map(endpoint => GrpcClient.connect(endpoint)))),
  );
  // Calls go to the first member, streams to all.
  const sides = subjects.map(({ name, family }, i): WatchSide => {
    const members = clients[i]!;
    const openWatch = (stream: number) => members[stream % members.length]!.stream('/etcdserverpb.Watch/Watch');
    return { side: sideOf(name, family, members.slice(0, 1)), openWatch };
  });
  return {
    both: [sides[0]!, sides[1]!] as const,
    async [Symbol.asyncDispose]() {
      for (const client of clients.flat()) client.close();
      await Promise.all(subjects.map(subject => subject.stop()));
    },
  };
}
