/** `kvorum member` against a running cluster, and what it refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memberCommand } from '../../src/cli/member.js';
import { StartError, startCluster } from '../../src/index.js';

async function run(...args: string[]): Promise<string> {
  const out: string[] = [];
  assert.equal(await memberCommand(args, { out: text => out.push(text), error: text => out.push(text) }), 0);
  return out.join('');
}

test('a learner is added, started, promoted and removed', async () => {
  await using cluster = await startCluster({ members: 1, strictReconfigCheck: false, logLevel: 'silent' });
  const endpoints = `--endpoints=${new URL(cluster.endpoints[0] as string).host}`;
  await cluster.client().put('k', 'v');
  const added = await run('add', '--learner', endpoints);
  const [, id = '', name = '', url = ''] = /^added ([0-9a-f]+) {2}(\S+) {2}(http:\S+) {2}learner\n$/.exec(added) ?? [];
  assert.notEqual(id, '', added);
  assert.equal(await run('list', endpoints).then(text => text.includes(`${id}  ${name}  ${url}  learner`)), true);
  // Until it has caught up the leader refuses.
  for (;;) {
    try {
      assert.equal(await run('promote', id, endpoints), `promoted ${id}\n`);
      break;
    } catch (error) {
      assert.match((error as Error).message, /in sync with leader/);
    }
  }
  assert.equal(await run('remove', id, endpoints), `removed ${id}\n`);
  assert.equal((await run('list', endpoints)).split('\n').length, 2);
});

test('wrong command lines and refusals are one line', async () => {
  const refused = (words: RegExp, ...args: string[]) =>
    assert.rejects(run(...args), (error: Error) => error instanceof StartError && words.test(error.message));
  await refused(/^usage: kvorum member add/, 'grow');
  await refused(/^usage/, 'remove');
  await refused(/xyz is no member id/, 'remove', 'xyz');
  await refused(/no connection to 127\.0\.0\.1:1/, 'list', '--endpoints=127.0.0.1:1');
  await using cluster = await startCluster({ members: 1, logLevel: 'silent' });
  const endpoints = `--endpoints=${new URL(cluster.endpoints[0] as string).host}`;
  await refused(/^etcdserver: member not found$/, 'remove', 'abc', endpoints);
});
