/**
 * The same random key-value programs on two servers, every answer compared (test/support/differential.ts).
 *
 * First the harness is tried on two releases of etcd itself: what it finds between them has to be on the list of known
 * differences, and a falsified answer has to be found. Then kvorum is compared with each release.
 *
 *   KVORUM_DIFFERENTIAL_PROGRAMS   programs per pair (default 60: a few thousand operations)
 *   KVORUM_DIFFERENTIAL_SEED       seed of the first program (default 1)
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeDivergence,
  type Family,
  type Outcome,
  runProgram,
  type Side,
  shrink,
  sideOf,
} from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { GrpcClient } from '../support/grpc-client.js';
import { isKnownDifference, knownDifferences } from '../support/known-differences.js';
import { operation, type ProgramOptions } from '../support/programs.js';
import { startSubjects } from '../support/subject.js';

const firstSeed = Number(process.env.KVORUM_DIFFERENTIAL_SEED ?? 1);
const programs = Number(process.env.KVORUM_DIFFERENTIAL_PROGRAMS ?? 60);
/** Every so many programs one may hold values around the request limits: megabytes, so not all. */
const bigEvery = 10;

/** Every way to refuse a key-value call; a generator that lost one of them would compare less without a word. */
const refusals = [
  'etcdserver: key is not provided',
  'etcdserver: key not found',
  'etcdserver: value is provided',
  'etcdserver: lease is provided',
  'etcdserver: too many operations in txn request',
  'etcdserver: duplicate key given in txn request',
  'etcdserver: mvcc: required revision has been compacted',
  'etcdserver: mvcc: required revision is a future revision',
  'etcdserver: requested lease not found',
  'etcdserver: lease already exists',
  'etcdserver: too large lease TTL',
  'etcdserver: request is too large',
  'grpc: received message larger than max',
  'grpc: error unmarshalling request:',
];
/** So many programs from any seed meet all of them. */
const programsForAllRefusals = 60;

interface Pair {
  readonly left: Family;
  readonly right: Family;
  readonly members: 1 | 3;
  /** Programs grant, use and revoke leases. */
  readonly leases: boolean;
}

const pairs: readonly Pair[] = [
  { left: 'etcd-3.4', right: 'etcd-3.5', members: 1, leases: true },
  { left: 'kvorum', right: 'etcd-3.5', members: 3, leases: true },
  { left: 'kvorum', right: 'etcd-3.5', members: 1, leases: true },
  { left: 'kvorum', right: 'etcd-3.4', members: 1, leases: true },
];

for (const { left, right, members, leases } of pairs) {
  test(`${left} and ${right} with ${members} member(s) answer ${programs} random programs alike`, async t => {
    if ((await requireEtcd(t, '3.4')) === undefined || (await requireEtcd(t, '3.5')) === undefined) return;
    await using sides = await startSides(left, right, members);
    const met = new Map<string, number>();
    const refused = new Map<string, number>();
    let operations = 0;
    for (let seed = firstSeed; seed < firstSeed + programs; seed++) {
      const options = optionsOf(seed, members, leases);
      const result = await runProgram(seed, sides.left, sides.right, options);
      operations += result.operations;
      addUp(met, result.known);
      addUp(refused, result.refusals);
      if (result.divergence !== undefined) {
        const smallest = await shrink(result.divergence, sides.left, sides.right, options);
        assert.fail(describeDivergence(smallest, sides.left, sides.right));
      }
    }
    t.diagnostic(`${operations} operations`);
    for (const [name, count] of met) t.diagnostic(`known difference "${name}": ${count} times`);
    if (programs < programsForAllRefusals) return;
    for (const text of refusals) {
      assert.ok(
        [...refused.keys()].some(met => met.startsWith(text)),
        `no program was refused with: ${text}`,
      );
    }
  });
}

test('a falsified answer is found and shrunk to the one operation that shows it', async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  await using sides = await startSides('etcd-3.5', 'etcd-3.5', 1);
  // A server that forgets that a delete with prev_kv returns the pairs.
  const forgetful: Side = {
    ...sides.left,
    name: 'falsified',
    async call(asked, member): Promise<Outcome> {
      const outcome = await sides.left.call(asked, member);
      if (asked.method !== 'DeleteRange' || outcome.response === undefined) return outcome;
      return { ...outcome, response: { ...outcome.response, prev_kvs: [] } };
    },
  };
  for (let seed = firstSeed; ; seed++) {
    const { divergence } = await runProgram(seed, forgetful, sides.right, optionsOf(seed, 1, true));
    if (divergence === undefined) continue;
    const smallest = await shrink(divergence, forgetful, sides.right, optionsOf(seed, 1, true));
    assert.equal(smallest.operation.method, 'DeleteRange');
    assert.match(smallest.path, /^response\.prev_kvs/);
    const own = smallest.history.slice(frameLength);
    assert.ok(own.length <= 2, `one operation to make a pair, one to delete it:\n${describe(smallest)}`);
    break;
  }

  function describe(found: Parameters<typeof describeDivergence>[0]): string {
    return describeDivergence(found, forgetful, sides.right);
  }
});

test('a difference is known only between the servers and in the answers its entry names', () => {
  const newest = sideNamed('kvorum');
  const old = sideNamed('etcd-3.5');
  const asked = operation('Range', { key: Buffer.from('a'), sort_order: 3 });
  const refused: Outcome = { status: 3, text: 'etcdserver: invalid sort option', response: undefined };
  const answered: Outcome = { status: 0, text: '', response: {} };
  const isKnown = (left: Side, leftOutcome: Outcome, right: Side, rightOutcome: Outcome) =>
    isKnownDifference(asked, { side: left, outcome: leftOutcome }, { side: right, outcome: rightOutcome });
  assert.equal(isKnown(newest, refused, old, answered), 'undefined sort order');
  assert.equal(isKnown(old, answered, newest, refused), 'undefined sort order');
  assert.equal(isKnown(newest, answered, old, refused), undefined);
  assert.equal(isKnown(newest, { ...refused, text: 'invalid sort option' }, old, answered), undefined);
  for (const { name, reason } of knownDifferences) assert.ok(reason.length > 20, `${name} has a reason`);
});

function addUp(sums: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of counts) sums.set(name, (sums.get(name) ?? 0) + count);
}

/** Operations before the program itself: five lease revokes, delete, compact, two lease grants. */
const frameLength = 9;

function optionsOf(seed: number, members: 1 | 3, leases: boolean): ProgramOptions {
  return {
    undefinedSortTargets: false,
    leases,
    revisionsInTxns: members === 1,
    bigValues: seed % bigEvery === 0,
    operationsMax: 60,
  };
}

function sideNamed(family: Family): Side {
  return sideOf(family, family, []);
}

async function startSides(left: Family, right: Family, members: 1 | 3) {
  const subjects = await startSubjects([left, right], { members });
  const clients = await Promise.all(
    subjects.map(subject => Promise.all(subject.endpoints.map(endpoint => GrpcClient.connect(endpoint)))),
  );
  const sides = subjects.map((subject, i) => sideOf(subject.name, subject.family, clients[i] ?? []));
  return {
    left: sides[0]!,
    right: sides[1]!,
    async [Symbol.asyncDispose]() {
      for (const client of clients.flat()) client.close();
      await Promise.all(subjects.map(subject => subject.stop()));
    },
  };
}
