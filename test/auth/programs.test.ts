/**
 * The same random programs about users, roles and permissions on real etcd and on kvorum: every answer is compared,
 * header revisions and auth revisions with it, and in the end everything that is stored.
 *
 *   KVORUM_AUTH_PROGRAMS   programs per kind of token (default 16)
 *   KVORUM_AUTH_SEED       seed of the first program (default 1)
 *   KVORUM_AUTH_FAMILIES   who is compared, the reference first (default etcd-3.5,kvorum)
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Family } from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { describeMessage } from '../support/messages.js';
import { Ensemble } from './ensemble.js';
import { generateProgram, programLeases, roleNames, type Step, userNames } from './programs.js';
import { signingKeys } from './signing-keys.js';

const firstSeed = Number(process.env.KVORUM_AUTH_SEED ?? 1);
const programs = Number(process.env.KVORUM_AUTH_PROGRAMS ?? 16);
const families = (process.env.KVORUM_AUTH_FAMILIES ?? 'etcd-3.5,kvorum').split(',') as Family[];

/** What has to have been answered by so many programs; a generator that lost one would compare less without a word. */
const programsForAllAnswers = 16;
const answers = [
  ...['0 ', '3 etcdserver: user name is empty', '7 etcdserver: permission denied', '16 etcdserver: invalid auth token'],
  ...['3 etcdserver: authentication failed, invalid user ID or password', '3 etcdserver: role name is empty'],
  ...['9 etcdserver: user name already exists', '9 etcdserver: user name not found'],
  ...['9 etcdserver: role name already exists', '9 etcdserver: role name not found'],
  ...['9 etcdserver: role is not granted to the user', '9 etcdserver: permission is not granted to the role'],
  ...['3 etcdserver: invalid auth management', '9 etcdserver: authentication is not enabled'],
  ...['9 etcdserver: root user does not exist', '9 etcdserver: root user does not have root role'],
];

test('random programs', { concurrency: true }, t =>
  Promise.all([t.test('simple tokens', one => compare(one, [], [])), t.test('signed tokens', signed)]).then(() => {}),
);

async function signed(t: TestContext): Promise<void> {
  const keys = await signingKeys();
  t.after(keys.remove);
  await compare(t, ['--auth-token', keys.authToken], ['3 etcdserver: revision of auth store is old']);
}

async function compare(t: TestContext, flags: string[], further: string[]): Promise<void> {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  await using ensemble = await Ensemble.start(families, flags);
  for (const [call, request] of [
    ['UserAdd', { name: 'keeper', password: 'keeper' }],
    ['UserGrantRole', { user: 'keeper', role: 'root' }],
  ] as const) {
    await ensemble.ask('', call, request);
  }
  ensemble.administrator = ['keeper', 'keeper'];
  ensemble.hold('forger', 'no.token.of.these');
  for (let seed = firstSeed; seed < firstSeed + programs; seed++) {
    const program = generateProgram(seed);
    const run: Step[] = [];
    for (const step of program) {
      run.push(step);
      await play(ensemble, step);
      if (ensemble.differences.length > 0) break;
    }
    if (ensemble.differences.length === 0) await inspect(ensemble);
    if (ensemble.differences.length > 0) {
      assert.fail(`program seed ${seed}\n${run.map(describeStep).join('\n')}\n${ensemble.differences.join('\n')}`);
    }
    await cleanUp(ensemble);
  }
  t.diagnostic(`${ensemble.asked} calls`);
  for (const [name, count] of ensemble.known) t.diagnostic(`known difference "${name}": ${count} times`);
  if (programs < programsForAllAnswers) return;
  for (const answer of [...answers, ...further]) assert.ok(ensemble.answers.has(answer), `nothing answered: ${answer}`);
}

async function play(ensemble: Ensemble, { bearer, call, request }: Step): Promise<void> {
  // Nobody's leases are the one thing that older releases change unchecked.
  const unchecked = (call === 'LeaseGrant' || call === 'LeaseRevoke') && ensemble.tokensOf(bearer)[0] === undefined;
  if (unchecked) return void (await ensemble.ask('forger', call, request));
  if (call !== 'Authenticate') return void (await ensemble.ask(bearer, call, request));
  await ensemble.login(String(request.name), String(request.password), bearer);
}

/** Everything that is stored, as the keeper sees it. */
async function inspect(ensemble: Ensemble): Promise<void> {
  await ensemble.login('keeper');
  const ask = (...[call, request]: [Step['call'], Step['request']]) => ensemble.ask('keeper', call, request);
  await ask('AuthStatus', {});
  await ask('UserList', {});
  await ask('RoleList', {});
  for (const name of userNames) await ask('UserGet', { name });
  for (const role of roleNames) await ask('RoleGet', { role });
  await ask('Range', { key: Buffer.from([0]), range_end: Buffer.from([0]) });
}

async function cleanUp(ensemble: Ensemble): Promise<void> {
  const ask = (...[call, request]: [Step['call'], Step['request']]) => ensemble.ask('keeper', call, request);
  await ask('AuthDisable', {});
  for (const name of userNames) await ask('UserDelete', { name });
  for (const role of roleNames) await ask('RoleDelete', { role });
  for (const ID of programLeases) await ask('LeaseRevoke', { ID });
  await ask('DeleteRange', { key: Buffer.from([0]), range_end: Buffer.from([0]) });
  for (const name of [...userNames, 'nobody', '']) for (const form of [name, `${name} before`]) ensemble.forget(form);
}

function describeStep({ bearer, call, request }: Step, index: number): string {
  return `  ${index + 1}. ${bearer || 'nobody'}: ${call} ${describeMessage(request)}`;
}
