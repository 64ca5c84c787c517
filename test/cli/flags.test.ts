import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOptions, evenSizeWarning, readFlags, unknownVariables } from '../../src/cli/flags.js';

test('flags in all of etcd’s spellings', () => {
  const values = readFlags(['--members', '5', '-data-dir=x', '--ephemeral=false', '--log-level', 'warn'], {});
  assert.deepEqual(
    [...values],
    [
      ['members', '5'],
      ['data-dir', 'x'],
      ['ephemeral', 'false'],
      ['log-level', 'warn'],
    ],
  );
});

test('every flag is an environment variable, but not both at once', () => {
  const environment = { ETCD_ELECTION_TIMEOUT: '2000', ETCD_MAX_TXN_OPS: '7', HOME: '/' };
  const options = clusterOptions(readFlags([], environment), [1, 2, 3]);
  assert.equal(options.electionTimeoutMs, 2000);
  assert.equal(options.maxTxnOps, 7);
  const auth = { ETCD_AUTH_TOKEN: 'simple', ETCD_AUTH_TOKEN_TTL: '5', ETCD_BCRYPT_COST: '4' };
  const { authToken, authTokenTtlSeconds, bcryptCost } = clusterOptions(readFlags([], auth), [1, 2, 3]);
  assert.deepEqual([authToken, authTokenTtlSeconds, bcryptCost], ['simple', 5, 4]);
  assert.throws(() => readFlags(['--election-timeout=1'], environment), /conflicting environment variable/);
  assert.deepEqual(unknownVariables({ ...environment, ETCD_NONSENSE: '1' }), ['ETCD_NONSENSE']);
});

test('bad flags say what to write instead', () => {
  assert.throws(() => readFlags(['--datadir', 'x'], {}), /unknown flag --datadir/);
  assert.throws(() => readFlags(['--client-urls', 'x'], {}), /did you mean --listen-client-urls/);
  assert.throws(() => readFlags(['--members'], {}), /--members needs a value/);
  assert.throws(() => readFlags(['extra'], {}), /unexpected argument extra/);
  assert.throws(() => clusterOptions(readFlags(['--members=three'], {}), []), /--members is a whole number/);
  assert.throws(() => clusterOptions(readFlags(['--log-level=loud'], {}), []), /--log-level loud is not one of/);
  assert.throws(() => clusterOptions(readFlags(['--ephemeral=maybe'], {}), []), /true or false/);
});

test('the command’s defaults', () => {
  const options = clusterOptions(new Map(), [2379, 22379, 32379, 42379]);
  assert.deepEqual(options, { members: 3, dataDir: 'kvorum.data', ports: [2379, 22379, 32379], logLevel: 'info' });
  const ephemeral = clusterOptions(readFlags(['--ephemeral', '--listen-client-urls=http://a:1,http://a:2'], {}), []);
  assert.deepEqual(ephemeral, {
    members: 2,
    ephemeral: true,
    listenClientUrls: ['http://a:1', 'http://a:2'],
    logLevel: 'info',
  });
});

test('durations and feature gates are Go’s and etcd’s', () => {
  const read = (...args: string[]) => clusterOptions(readFlags(args, {}), [1, 2, 3]);
  const intervalMs = (text: string) => read(`--watch-progress-notify-interval=${text}`).watchProgressNotifyIntervalMs;
  assert.deepEqual(['100ms', '1m30s', '2h', '1.5s', '0'].map(intervalMs), [100, 90_000, 7_200_000, 1_500, 0]);
  assert.throws(() => intervalMs('5'), /is a duration like 500ms, 10s or 1m30s, not 5/);
  assert.throws(() => intervalMs('5s!'), /is a duration/);
  assert.equal(read('--feature-gates=AllBeta=false,LeaseCheckpoint=true').leaseCheckpoint, true);
  assert.equal(read('--feature-gates=LeaseCheckpoint=false').leaseCheckpoint, false);
  assert.equal(read('--feature-gates=AllAlpha=true').leaseCheckpoint, true);
  assert.equal(read('--feature-gates=LeaseCheckpoint=false,AllAlpha=true').leaseCheckpoint, false);
  assert.equal(read('--feature-gates=StopGRPCServiceOnDefrag=true').stopGrpcServiceOnDefrag, true);
  assert.throws(() => read('--feature-gates=Nonsense=true'), /unrecognized feature gate: Nonsense/);
  assert.throws(() => read('--feature-gates=LeaseCheckpoint'), /LeaseCheckpoint is true or false, not empty/);
});

test('even sizes are warned of with the quorum arithmetic', () => {
  assert.equal(evenSizeWarning(3), undefined);
  assert.equal(
    evenSizeWarning(4),
    '4 members need 3 for a quorum and survive 1 failure, no more than 3 members do; use 3 or 5',
  );
  assert.match(evenSizeWarning(2) as string, /survive 0 failures/);
});

test('what plain HTTP serves, and to whom', () => {
  const read = (...args: string[]) => {
    const { cors, hostWhitelist, enableGrpcGateway } = clusterOptions(readFlags(args, {}), [1, 2, 3]);
    return { cors, hostWhitelist, enableGrpcGateway };
  };
  assert.deepEqual(read('--cors=*', '--host-whitelist=a.example, b.example', '--enable-grpc-gateway=false'), {
    cors: ['*'],
    hostWhitelist: ['a.example', 'b.example'],
    enableGrpcGateway: false,
  });
  assert.deepEqual(read('--cors', '', '--enable-grpc-gateway'), {
    cors: [],
    hostWhitelist: undefined,
    enableGrpcGateway: true,
  });
});

test('how the membership may change', () => {
  const read = (...args: string[]) => {
    const { strictReconfigCheck, startAddedMembers } = clusterOptions(readFlags(args, {}), [1, 2, 3]);
    return [strictReconfigCheck, startAddedMembers];
  };
  assert.deepEqual(read(), [undefined, undefined]);
  assert.deepEqual(read('--strict-reconfig-check=false', '--start-added-members=false'), [false, false]);
});

test('upkeep: auto-compaction and corruption checks', () => {
  const read = (...args: string[]) => clusterOptions(readFlags(args, {}), [1, 2, 3]);
  const options = read('--auto-compaction-mode=revision', '--auto-compaction-retention=500', '--corrupt-check-time=4h');
  assert.equal(options.autoCompactionMode, 'revision');
  assert.equal(options.autoCompactionRetention, '500');
  assert.equal(options.corruptCheckIntervalMs, 4 * 3_600_000);
  assert.equal(options.initialCorruptCheck, undefined);
  assert.equal(read('--feature-gates=InitialCorruptCheck=true').initialCorruptCheck, true);
  const { compactHashCheck, compactHashCheckIntervalMs } = read(
    ...['--feature-gates=CompactHashCheck=true', '--compact-hash-check-time=30s'],
  );
  assert.deepEqual([compactHashCheck, compactHashCheckIntervalMs], [true, 30_000]);
});
