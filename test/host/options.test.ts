import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StartError } from '../../src/host/data-directory.js';
import { type ClusterOptions, resolveOptions } from '../../src/host/options.js';

function refusal(options: ClusterOptions): string {
  try {
    resolveOptions(options);
  } catch (error) {
    assert.ok(error instanceof StartError);
    assert.ok(!error.message.includes('\n'), 'one line');
    return error.message;
  }
  assert.fail('not refused');
}

test('defaults are etcd’s', () => {
  const { members, settings, token, listen } = resolveOptions({});
  assert.equal(members, 3);
  assert.equal(token, 'etcd-cluster');
  assert.deepEqual(
    listen,
    [0, 0, 0].map(port => ({ host: '127.0.0.1', port, secure: false })),
  );
  assert.deepEqual(settings, {
    heartbeatIntervalMs: 100,
    electionTimeoutMs: 1000,
    snapshotCount: 10_000,
    snapshotCatchUpEntries: 5_000,
    maxTxnOps: 128,
    maxRequestBytes: 1_572_864,
    quotaBackendBytes: 0,
    watchProgressNotifyIntervalMs: 600_000,
    leaseCheckpointIntervalMs: 0,
    strictReconfigCheck: true,
    autoCompaction: { mode: 'periodic', retention: 0 },
    corruptCheckIntervalMs: 0,
    compactHashCheckIntervalMs: 0,
    stopGrpcServiceOnDefrag: false,
    initialCorruptCheck: false,
    authToken: 'simple',
    authTokenTtlSeconds: 300,
    durable: false,
  });
  assert.equal(resolveOptions({ dataDir: 'somewhere' }).settings.durable, true);
});

test('auth: etcd’s three flags', () => {
  assert.deepEqual(resolveOptions({}).auth, { tokens: undefined, bcryptCost: 10, commonNames: false });
  const { settings, auth } = resolveOptions({ authToken: 'jwt,sign-method=HS256,priv-key=k', bcryptCost: 4 });
  assert.deepEqual([settings.authToken, auth.tokens?.method, auth.bcryptCost], ['jwt', 'HS256', 4]);
  const ttl = (seconds: number): number =>
    resolveOptions({ authTokenTtlSeconds: seconds }).settings.authTokenTtlSeconds;
  assert.deepEqual([ttl(0), ttl(7)], [300, 7]);
  assert.match(refusal({ authTokenTtlSeconds: -1 }), /--auth-token-ttl must be a whole number of at least 1, not -1/);
  assert.match(refusal({ authToken: 'jwt' }), /--auth-token: invalid auth signature method/);
  for (const bcryptCost of [3, 32, 4.5]) assert.match(refusal({ bcryptCost }), /--bcrypt-cost .* from 4 to 31/);
});

test('auto compaction: hours, durations and revisions, as etcd reads them', () => {
  const retention = (mode: 'periodic' | 'revision', text: string): number =>
    resolveOptions({ autoCompactionMode: mode, autoCompactionRetention: text }).settings.autoCompaction.retention;
  assert.equal(retention('periodic', '2'), 2 * 3_600_000);
  assert.equal(retention('periodic', '90s'), 90_000);
  assert.equal(retention('revision', '1000'), 1_000);
  assert.equal(refusal({ autoCompactionMode: 'x' as 'periodic' }), 'unknown auto-compaction-mode "x"');
  assert.match(refusal({ autoCompactionMode: 'revision', autoCompactionRetention: '1h' }), /a number of revisions/);
  assert.match(refusal({ autoCompactionRetention: '-1' }), /a number of hours or a duration like 30m/);
});

test('etcd’s own refusals keep etcd’s text', () => {
  assert.equal(
    refusal({ electionTimeoutMs: 300 }),
    '--election-timeout[300ms] should be at least as 5 times as --heartbeat-interval[100ms]',
  );
  assert.equal(
    refusal({ electionTimeoutMs: 60_000 }),
    '--election-timeout[60000ms] is too long, and should be set less than 50000ms',
  );
});

test('other refusals name the option and a way out', () => {
  assert.match(refusal({ members: 0 }), /--members .*; use 3/);
  assert.match(refusal({ members: 8 }), /--members/);
  assert.match(refusal({ ephemeral: true, dataDir: 'x' }), /--ephemeral and --data-dir/);
  assert.match(refusal({ members: 3, listenClientUrls: ['http://127.0.0.1:1'] }), /names 1 URLs for 3 members/);
  assert.match(refusal({ listenClientUrls: ['127.0.0.1:2379'] }), /write http:\/\/127\.0\.0\.1:2379/);
  assert.match(refusal({ listenClientUrls: ['http://127.0.0.1:70000'] }), /no valid port/);
  assert.match(refusal({ listenClientUrls: ['http://h:1', 'http://h:1', 'http://h:2'] }), /twice/);
  assert.match(refusal({ snapshotCount: 0 }), /--snapshot-count/);
  assert.match(refusal({ ports: [1, 2], members: 3 }), /names 2 ports for 3 members/);
});

test('URLs with IPv6 hosts', () => {
  assert.deepEqual(resolveOptions({ listenClientUrls: ['http://[::1]:2379/'] }).listen, [
    { host: '::1', port: 2379, secure: false },
  ]);
});
