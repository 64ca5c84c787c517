/**
 * etcd's own etcdctl, 3.4 and 3.5, runs the same commands against kvorum and against real etcd and has to print the
 * same (test/support/etcdctl.ts says what is normalised). Real servers of the two releases are compared first: what
 * the harness reports between them would be reported between kvorum and etcd too.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Family } from '../support/differential.js';
import { type EtcdVersion, requireEtcd } from '../support/etcd.js';
import { type ControlCommand, ControlledCluster, type ControlResult } from '../support/etcdctl.js';
import { startSubjects } from '../support/subject.js';

const controls: readonly EtcdVersion[] = ['3.4', '3.5'];
const reference: Family = 'etcd-3.5';
const compared: readonly Family[] = ['etcd-3.4', 'kvorum'];

const firstSteps: readonly ControlCommand[] = [
  run('put', 'greeting', 'hello'),
  run('get', 'greeting'),
  run('get', 'greeting', '-w', 'json'),
  run('get', 'greeting', '-w', 'fields'),
  run('get', 'greeting', '--hex'),
  run('get', 'greeting', '--print-value-only'),
  run('put', 'greeting', 'good day', '--prev-kv'),
  run('put', 'greeting', 'hello again', '--prev-kv', '-w', 'json'),
  run('put', 'greeting', 'hello once more', '-w', 'fields'),
  run('get', 'greeting', '--rev=2'),
  run('get', 'greeting', '--rev=3', '-w', 'json'),
  run('put', 'empty', ''),
  run('get', 'empty', '-w', 'json'),
  run('put', 'greeting', '--ignore-value'),
  run('get', 'no/such/key'),
  run('get', 'no/such/key', '-w', 'json'),
  { flags: ['put', 'from-stdin'], input: 'two lines\nof text — and no newline at the end' },
  run('get', 'from-stdin', '-w', 'json'),
  run('put', 'umlauts/äöü', '日本語'),
  run('get', 'umlauts/äöü', '-w', 'fields'),
];

const ranges: readonly ControlCommand[] = [
  ...['one', 'two', 'three', 'four', 'five'].map(name => run('put', `/app/${name}`, `value ${name}`)),
  run('put', '/app/two', 'a second version'),
  run('get', '/app/', '--prefix'),
  run('get', '/app/', '--prefix', '--keys-only'),
  run('get', '/app/', '--prefix', '-w', 'json'),
  run('get', '/app/', '--prefix', '--keys-only', '-w', 'json'),
  run('get', '/app/', '--prefix', '--limit=2'),
  run('get', '/app/', '--prefix', '--limit=2', '-w', 'json'),
  run('get', '/app/', '--prefix', '--order=DESCEND', '--keys-only'),
  run('get', '/app/', '--prefix', '--sort-by=VERSION', '--order=DESCEND', '--limit=1'),
  run('get', '/app/', '--prefix', '--sort-by=CREATE', '--keys-only'),
  run('get', '/app/', '--prefix', '--sort-by=MODIFY', '--order=DESCEND', '--keys-only'),
  run('get', '/app/', '--prefix', '--sort-by=VALUE', '--print-value-only'),
  run('get', '/app/', '--prefix', '--count-only', '-w', 'fields'),
  run('get', '/app/t', '/app/u', '--keys-only'),
  run('get', '/app/t', '--from-key', '--keys-only'),
  run('get', '', '--prefix', '--keys-only'),
  run('get', '', '--from-key', '--limit=3', '-w', 'fields'),
  run('get', '/app/one', '--consistency=s', '-w', 'json'),
  run('get', '/app/one', '--order=SIDEWAYS'),
];

const changes: readonly ControlCommand[] = [
  { flags: ['txn'], input: 'value("greeting") = "hello once more"\n\nput greeting bye\nget greeting\n\nget empty\n\n' },
  {
    flags: ['txn'],
    input: 'mod("greeting") > "999"\nver("empty") = "1"\n\nput greeting never\n\nget empty\ndel empty\n\n',
  },
  {
    flags: ['txn', '-w', 'json'],
    input: 'create("new/key") = "0"\n\nput new/key "with spaces"\nget new/ --prefix\n\n\n',
  },
  { flags: ['txn', '-w', 'fields'], input: 'create("new/key") = "0"\n\n\nget new/key\n\n' },
  { flags: ['txn'], input: '\nput same/key 1\nput same/key 2\n\n\n' },
  { flags: ['txn'], input: 'no comparison\n\n\n\n' },
  run('del', 'new/key', '--prev-kv'),
  run('del', 'no/such/key'),
  run('del', '/app/', '--prefix', '--prev-kv', '-w', 'json'),
  run('get', '/app/', '--prefix', '-w', 'json'),
  run('put', 'again', 'and'),
  run('put', 'again', 'again'),
  run('compaction', '5'),
  run('compaction', '5'),
  run('get', 'greeting', '--rev=2'),
  run('compaction', '1000'),
  run('get', 'greeting', '--rev=1000'),
  run('compaction', '12', '--physical'),
  run('get', 'greeting', '--rev=12', '-w', 'json'),
  run('put', '', 'a value without a key'),
  run('put', 'no/such/key', '--ignore-value'),
  run('put', 'no/such/key', 'value', '--ignore-lease'),
  run('put', 'leased', 'value', '--lease=1234abcd'),
  run('get'),
];

const cluster: readonly ControlCommand[] = [
  ...['simple', 'json', 'table', 'fields'].flatMap(format => [
    everywhere('endpoint', 'status', '-w', format),
    everywhere('endpoint', 'health', '-w', format),
    everywhere('endpoint', 'hashkv', '-w', format),
    run('member', 'list', '-w', format),
  ]),
  run('endpoint', 'status', '--cluster', '-w', 'json'),
  run('endpoint', 'health', '--cluster'),
  run('endpoint', 'hashkv', '--rev=20', '-w', 'json'),
  run('alarm', 'list'),
  run('alarm', 'list', '-w', 'json'),
];

/** What servers answer differently on purpose. */
const knownDifferences: readonly { family: Family; command: string; reason: string }[] = [
  { family: 'etcd-3.4', command: 'alarm list -w json', reason: 'the answer has a header since 3.5' },
];

const programs = { 'first steps': firstSteps, ranges, changes, cluster };

for (const release of controls) {
  test(`etcdctl ${release} prints the same with ${compared.join(', ')} as with ${reference}`, async t => {
    const binaries = await requireEtcd(t, release);
    if (binaries === undefined) return;
    for (const peer of controls) if ((await requireEtcd(t, peer)) === undefined) return;
    const subjects = await startSubjects([reference, ...compared], { members: 3 });
    try {
      const clusters = await Promise.all(subjects.map(subject => ControlledCluster.of(subject, binaries.control)));
      const differing: string[] = [];
      for (const [title, program] of Object.entries(programs)) {
        const transcripts = await Promise.all(clusters.map(one => transcript(one, program)));
        for (const [i, family] of compared.entries()) {
          const differences = differencesOf(family, transcripts[0] ?? [], transcripts[i + 1] ?? []);
          differing.push(...differences.map(text => `${title}, ${family} and ${reference}:\n${text}`));
        }
      }
      if (differing.length > 0) assert.fail(differing.join('\n\n'));
    } finally {
      await Promise.all(subjects.map(subject => subject.stop()));
    }
  });
}

function run(...flags: string[]): ControlCommand {
  return { flags };
}

function everywhere(...flags: string[]): ControlCommand {
  return { flags, endpoints: 'all' };
}

async function transcript(one: ControlledCluster, program: readonly ControlCommand[]): Promise<ControlResult[]> {
  const results: ControlResult[] = [];
  for (const command of program) results.push(await one.run(command));
  return results;
}

/** Every command whose output differs and may not, with both outputs. */
function differencesOf(family: Family, expected: readonly ControlResult[], actual: readonly ControlResult[]): string[] {
  return expected.flatMap((one, i) => {
    if (knownDifferences.some(known => known.family === family && known.command === one.command)) return [];
    try {
      assert.deepEqual(actual[i], one);
      return [];
    } catch (error) {
      return error instanceof Error ? [`etcdctl ${one.command}\n${error.message}`] : [];
    }
  });
}
