/**
 * `etcdctl watch` in all its forms, and transactions typed in, print the same with kvorum as with real etcd.
 *
 * A watch does not say when it has begun, so the scenarios name the revision to begin at: what is printed then does not
 * depend on whether the event or the watch comes first. One event is waited for before the next is made.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareReleases, type Stage } from '../support/control-stage.js';
import type { Family } from '../support/differential.js';

const families: readonly Family[] = ['etcd-3.5', 'etcd-3.4', 'kvorum'];

const scenarios = { history, live, interactive, typedTransactions, compacted, fromNowOn };

test(`etcdctl watch prints the same with ${families.slice(1).join(', ')} as with ${families[0]}`, t =>
  compareReleases(t, families, scenarios));

/** Watches that begin in the past. */
async function history(stage: Stage): Promise<void> {
  const from = `--rev=${(await stage.revision()) + 1}`;
  await stage.run('put', 'h/one', '1');
  await stage.run('put', 'h/two', '2');
  await stage.run('put', 'h/one', 'one and a half\nin two lines');
  await stage.run('del', 'h/one');
  await stage.command({ flags: ['txn'], input: '\nput h/three 3\nput h/umlauts/äöü 日本語\ndel h/two\n\n\n' });
  await stage.run('put', 'h/last', 'last');
  // A confirmed read: the follower has all of it, so that it is history for the follower's watches too.
  await stage.command({ flags: ['get', 'h/last'], endpoints: 'follower' });
  for (const format of ['simple', 'json', 'fields']) {
    for (const flags of [
      ['h/one'],
      ['h/', '--prefix'],
      ['h/', '--prefix', '--prev-kv'],
      ['h/one', 'h/three'],
      ['h/', 'h0', '--hex'],
    ]) {
      const watch = stage.openOnFollower('watch', ...flags, from, '-w', format);
      // The last event each of them has to see.
      const last = flags[0] === 'h/one' ? /"?DELETE(.|\n)*h\/(one|two)|"DELETE"|"type":1/ : /last|bGFzdA|x6c\\x61/;
      await watch.shows(last);
      await stage.end(watch);
    }
  }
  const command = ['sh', '-c', 'env | grep ^ETCD_WATCH_ | sort'];
  const executing = stage.open('watch', 'h/', '--prefix', from, '--', ...command);
  await executing.shows(/ETCD_WATCH_VALUE="last"/);
  await stage.end(executing, 'SIGTERM');
  const failing = stage.open('watch', 'h/', '--prefix', from, '--', 'sh', '-c', 'echo called; exit 4');
  await stage.ended(failing);
  await stage.run('watch');
  await stage.run('watch', 'a', 'b', '--prefix');
}

/** Watches that see events as they are made. */
async function live(stage: Stage): Promise<void> {
  const from = `--rev=${(await stage.revision()) + 1}`;
  const watches = ['simple', 'json', 'fields'].flatMap(format => [
    stage.open('watch', 'l/key', from, '-w', format),
    stage.openOnFollower('watch', 'l/', '--prefix', '--prev-kv', from, '-w', format),
  ]);
  const everywhere = (pattern: RegExp) => Promise.all(watches.map(watch => watch.shows(pattern)));
  await stage.run('put', 'l/key', 'first-value');
  await everywhere(/first-value|Zmlyc3QtdmFsdWU=/);
  await stage.command({ flags: ['txn'], input: '\nput l/key second-value\nput l/other x\n\n\n' });
  await everywhere(/second-value|c2Vjb25kLXZhbHVl/);
  await stage.run('del', 'l/', '--prefix');
  await everywhere(/DELETE|"type":1/);
  await stage.run('put', 'l/key', 'last-value');
  await everywhere(/last-value|bGFzdC12YWx1ZQ==/);
  for (const watch of watches) await stage.end(watch);
}

/** Several watches typed into one etcdctl, and progress asked for. */
async function interactive(stage: Stage): Promise<void> {
  const from = `--rev=${(await stage.revision()) + 1}`;
  const session = stage.openOnFollower('watch', '-i');
  session.write(`watch i/one ${from}\n`);
  await stage.run('put', 'i/one', 'first');
  await session.shows(/PUT\ni\/one\nfirst/);
  session.write(`watch ${from} --prev-kv --prefix i/t\n`);
  await stage.run('put', 'i/two', 'second');
  await session.shows(/PUT\n\n?i\/two\nsecond/);
  session.write(`watch i/called ${from} -- echo command\n`);
  await stage.run('put', 'i/called', 'third');
  await session.shows(/PUT\n\n?i\/called\nthird\ncommand\n/);
  session.write('progress\n');
  await session.shows(/progress notify: \d+\n(?:.*\n)*?progress notify: \d+\n(?:.*\n)*?progress notify: \d+\n/);
  session.write('bogus line\n');
  await session.shows(/bogus/);
  session.write('watch\n');
  await session.shows(/watch|Watch/);
  session.closeInput();
  await stage.ended(session);
}

/** `txn -i` asks for compares, success and failure requests. */
async function typedTransactions(stage: Stage): Promise<void> {
  await stage.run('put', 't/key', 'value');
  const inputs = [
    'value("t/key") = "value"\n\nput t/key changed\nget t/key\n\nget t/other\n\n',
    'value("t/key") = "value"\ncreate("t/key") > "0"\n\nput t/key never\n\nget t/key\ndel t/key\n\n',
    'mod("t/key") = "0"\nver("t/key") < "0"\n\nput t/key "a b"\n\nput t/none x\n\n',
    'nonsense\n\n\n\n',
    'create("t/key") = "0"\n\nnonsense\n\n\n',
  ];
  for (const input of inputs) {
    for (const format of ['simple', 'json', 'fields']) {
      await stage.command({ flags: ['txn', '-i', '-w', format], input });
    }
  }
}

/** A watch for a revision that is compacted is ended by the server. */
async function compacted(stage: Stage): Promise<void> {
  await stage.run('put', 'c/key', '1');
  await stage.run('put', 'c/key', '2');
  await stage.run('compaction', `${await stage.revision()}`);
  for (const format of ['simple', 'json', 'fields']) {
    await stage.run('watch', 'c/key', '--rev=2', '-w', format);
  }
  // The revision of the compaction itself is still there.
  const watch = stage.open('watch', 'c/key', `--rev=${await stage.revision()}`, '-w', 'json');
  await watch.shows(/Events/);
  await stage.end(watch);
}

/** A watch that names no revision. It does not say when it has begun, so the key is put until it shows. */
async function fromNowOn(stage: Stage): Promise<void> {
  const watch = stage.openOnFollower('watch', 'n/', '--prefix');
  const deadline = performance.now() + 20_000;
  while (watch.silent) {
    assert.ok(performance.now() < deadline, 'the watch sees nothing');
    await stage.quiet({ flags: ['put', 'n/probe', 'probe'] });
  }
  await stage.quiet({ flags: ['put', 'n/key', 'seen'] });
  await watch.shows(/PUT\nn\/key\nseen\n/);
  await stage.quiet({ flags: ['del', 'n/key'] });
  await watch.shows(/DELETE\nn\/key\n/);
  const { code, signal, stdout } = await watch.end();
  assert.equal(stdout.replaceAll('PUT\nn/probe\nprobe\n', ''), 'PUT\nn/key\nseen\nDELETE\nn/key\n\n');
  assert.deepEqual({ code, signal }, { code: null, signal: 'SIGINT' });
}
