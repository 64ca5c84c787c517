/**
 * The command line of `kvorum snapshot save` and `restore`: what is refused, and with which words.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { snapshotCommand } from '../../src/cli/snapshot.js';
import { StartError, startCluster } from '../../src/index.js';

const base = mkdtempSync(join(tmpdir(), 'kvorum-cli-'));
mkdirSync(join(base, 'kept', 'something'), { recursive: true });
after(() => rmSync(base, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; out: string; error: string }> {
  const out: string[] = [];
  const error: string[] = [];
  const code = await snapshotCommand(args, { out: text => out.push(text), error: text => error.push(text) });
  return { code, out: out.join(''), error: error.join('') };
}

const refusals: [args: string[], words: RegExp][] = [
  [['save'], /snapshot save takes one file/],
  [['save', 'a.db', 'b.db'], /snapshot save takes one file/],
  [['save', 'a.db', '--endpoints', 'h:1,h:2'], /one selected node, not multiple \[h:1 h:2\]/],
  [['save', join(base, 'none', 'a.db')], /cannot write .*ENOENT/],
  [['save', join(base, 'a.db'), '--endpoints', '127.0.0.1:1'], /cannot save .*no connection to 127\.0\.0\.1:1/],
  [['save', join(base, 'a.db'), '--endpoints', 'no endpoint'], /cannot save .*not an endpoint/],
  [['save', join(base, 'a.db'), '--cacert', join(base, 'none')], /--cacert: cannot read .*none: ENOENT/],
  [['restore'], /snapshot restore takes one file/],
  [['restore', 'a.db', '--members', '0'], /--members must be a whole number from 1 to 7, not 0/],
  [['restore', 'a.db', '--members', '8'], /not 8/],
  [['restore', 'a.db', '--members', 'x'], /not x/],
  [['restore', 'a.db', '--wal-dir', 'w'], /Unknown option '--wal-dir'/],
  [['restore', 'a.db', '--name', 'x'], /couldn't find local name "x" in the initial cluster configuration/],
  [['restore', 'a.db', '--initial-cluster', 'a'], /"a" is not NAME=URL/],
  [['restore', 'a.db', '--initial-cluster', '../a=http://h:1'], /is not NAME=URL/],
  [['restore', 'a.db', '--initial-cluster', 'lock=http://h:1'], /no member can be lock/],
  [['restore', 'a.db', '--initial-cluster', 'a=http://h:1,b=http://h:1'], /http:\/\/h:1 twice/],
  [['restore', 'a.db', '--initial-cluster', 'a=http://h:1', '--members', '3'], /names 1 members, --members says 3/],
  [['restore', 'a.db', '--initial-advertise-peer-urls', 'http://h:1'], /say which with --name/],
  [
    [
      'restore',
      'a.db',
      '--initial-cluster',
      'a=http://h:1',
      '--name',
      'a',
      '--initial-advertise-peer-urls',
      'http://h:2',
    ],
    /--initial-cluster has a=http:\/\/h:1 but missing from --initial-advertise-peer-urls=http:\/\/h:2/,
  ],
  [
    ['restore', 'a.db', '--name', 'm1', '--initial-advertise-peer-urls', 'http://127.0.0.1:12380,http://h:2'],
    /has http:\/\/h:2 but missing from --initial-cluster/,
  ],
  [['restore', 'a.db', '--bump-revision', '5'], /--mark-compacted required/],
  [['restore', 'a.db', '--bump-revision', '-5'], /ambiguous|whole number/],
  [['restore', 'a.db', '--mark-compacted'], /--mark-compacted needs --bump-revision/],
  [['restore', join(base, 'none.db'), '--data-dir', join(base, 'data')], /none\.db: no such file or directory/],
  [['restore', join(base, 'none.db'), '--data-dir', join(base, 'kept')], /not empty or could not be read/],
  [['export', 'a.db'], /there are snapshot save, status, check and restore FILE/],
];

for (const [args, words] of refusals) {
  test(`refused: snapshot ${args.join(' ').replaceAll(base, 'DIR')}`, async () => {
    await assert.rejects(run(...args), (error: Error) => {
      assert.ok(error instanceof StartError, error.stack);
      assert.match(error.message, words);
      assert.ok(!error.message.includes('\n'), error.message);
      return true;
    });
    assert.deepEqual(
      readdirSync(base).filter(name => name !== 'kept'),
      [],
    );
  });
}

test('save, restore and start: what is printed is what to do next', async () => {
  const source = await startCluster({ members: 1, logLevel: 'silent' });
  await source.client().put('k', 'v');
  const file = join(base, 'saved.db');
  const saved = await run('save', file, '--endpoints', source.endpoints[0] as string);
  await source.close();
  assert.deepEqual(saved, { code: 0, out: `Snapshot saved at ${file}\nServer version 3.6.0\n`, error: '' });
  const dataDir = join(base, 'restored');
  const flags = ['--data-dir', dataDir, '--initial-cluster', 'a=http://h:1,b=http://h:2,a=http://h:3'];
  const restored = await run('restore', file, ...flags, '--name', 'a', '--initial-cluster-token', 'mine');
  assert.equal(restored.code, 0);
  assert.equal(
    restored.out,
    `restored ${dataDir}: 2 members, revision 2, 1 records\n` +
      `start it with: kvorum --data-dir ${dataDir} --members 2 --initial-cluster-token mine\n`,
  );
  const cluster = await startCluster({ dataDir, members: 2, token: 'mine', logLevel: 'silent' });
  const list = await cluster.client().memberList();
  assert.deepEqual(list.map(({ name, peerUrls }) => [name, ...peerUrls].join(' ')).sort(), [
    'a http://h:1 http://h:3',
    'b http://h:2',
  ]);
  assert.equal((await cluster.client().get('k'))?.value, 'v');
  await cluster.close();
  assert.match((await run('restore', '--help')).out, /--bump-revision N --mark-compacted/);
  assert.ok(!existsSync(`${dataDir}.restoring`));
});
