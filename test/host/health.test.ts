/**
 * Health checks in each state of a member: the whole answers, as etcd 3.6 words them. The member is a stand-in that
 * answers reads, refuses them, or never says anything.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange } from '../../src/host/gateway/exchange.js';
import { answerHealth, HealthCounts, type HealthMember } from '../../src/host/health.js';
import type { Waiter } from '../../src/host/member-port.js';
import { alarmBit, Cell, requestTimeoutMs, StatusCells } from '../../src/transport/control.js';
import { MetricCells, Scalar } from '../../src/transport/metric-cells.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';
import { decode } from '../../src/wire/schema.js';

type Reads = 'served' | 'refused' | 'never';

/** Reads may take 7 s then. */
const settings = { electionTimeoutMs: 1_000 };

class Stand {
  readonly cells = new StatusCells();
  readonly metrics = new MetricCells();
  readonly counts = new HealthCounts();
  cancelled = 0;
  exists = true;
  local: Reads = 'served';
  linearizable: Reads = 'served';

  readonly member: HealthMember = {
    recipe: { settings },
    cells: this.cells,
    metrics: this.metrics,
    port: {
      open: (_method, request, _requireLeader, waiter: Waiter, _caller, ofServer) => {
        assert.equal(ofServer, true);
        const { serializable } = decode('etcdserverpb.RangeRequest', request);
        const reads = serializable ? this.local : this.linearizable;
        if (reads === 'served') waiter.reply(new Uint8Array());
        else if (reads === 'refused') waiter.end(EtcdErrorCode.Timeout, '');
        return 7;
      },
      cancel: requestId => {
        assert.equal(requestId, 7);
        this.cancelled += 1;
      },
    },
  };

  /** Asks; resolves with the answer, `status body`. */
  ask(target: string, method = 'GET'): Promise<string> {
    return new Promise(resolve => {
      const exchange = {
        method,
        target,
        respond: (status: number, _headers: unknown, body: string) => resolve(`${status} ${body}`),
      } as unknown as Exchange;
      const path = target.split('?')[0] as string;
      if (!answerHealth(exchange, path, this.exists ? this.member : undefined, this.counts)) resolve('none');
    });
  }
}

const wellVerbose = '[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n';

test('a member that is well', async () => {
  const stand = new Stand();
  assert.equal(await stand.ask('/health'), '200 {"health":"true","reason":""}');
  assert.equal(await stand.ask('/livez'), '200 ok\n');
  assert.equal(await stand.ask('/livez?verbose'), '200 [+]serializable_read ok\nok\n');
  assert.equal(await stand.ask('/readyz'), '200 ok\n');
  assert.equal(await stand.ask('/readyz?verbose'), `200 ${wellVerbose}ok\n`);
  assert.equal(await stand.ask('/readyz/linearizable_read?verbose'), '200 [+]linearizable_read ok\nok\n');
  assert.equal(stand.counts.successes, 1);
  const asked = stand.counts.checks().map(({ type, name, successes }) => `${type} ${name} ${successes}`);
  assert.deepEqual(asked, [
    'livez serializable_read 2',
    'readyz data_corruption 2',
    'readyz serializable_read 2',
    'readyz linearizable_read 3',
    'readyz non_learner 2',
  ]);
});

test('what is no check is not found, and only GET is served', async () => {
  const stand = new Stand();
  for (const path of ['/livez/linearizable_read', '/livez/', '/readyz/constructor', '/health/x', '/readyz/a/b', '/']) {
    assert.equal(await stand.ask(path), 'none', path);
  }
  assert.equal(await stand.ask('/readyz', 'POST'), '405 Method Not Allowed\n');
});

test('a member without a leader answers from its own state only', async () => {
  const stand = new Stand();
  stand.cells.set(Cell.leaderPosition, -1);
  stand.linearizable = 'refused';
  assert.equal(await stand.ask('/health'), '503 {"health":"false","reason":"RAFT NO LEADER"}\n');
  assert.equal(await stand.ask('/health?serializable=true'), '200 {"health":"true","reason":""}');
  assert.equal(await stand.ask('/livez'), '200 ok\n');
  const failed = '[-]linearizable_read failed: etcdserver: request timed out\n';
  const lines = wellVerbose.replace('[+]linearizable_read ok\n', failed);
  assert.equal(await stand.ask('/readyz'), `503 ${lines}\n`);
  assert.equal(await stand.ask('/readyz/linearizable_read'), `503 ${failed}\n`);
  assert.equal(await stand.ask('/readyz?exclude=linearizable_read&exclude=what'), '200 ok\n');
  assert.equal(stand.counts.failures, 1);
  assert.equal(stand.counts.checks().find(({ name }) => name === 'linearizable_read')?.errors, 2);
});

test('out of space: unwell unless that is left out, but ready', async () => {
  const stand = new Stand();
  stand.cells.set(Cell.alarms, alarmBit(1));
  assert.equal(await stand.ask('/health'), '503 {"health":"false","reason":"ALARM NOSPACE"}\n');
  assert.equal(await stand.ask('/health?exclude=NOSPACE'), '200 {"health":"true","reason":""}');
  assert.equal(await stand.ask('/readyz'), '200 ok\n');
});

test('corrupt: neither well nor ready, but alive', async () => {
  const stand = new Stand();
  stand.cells.set(Cell.alarms, alarmBit(2));
  assert.equal(await stand.ask('/health'), '503 {"health":"false","reason":"ALARM CORRUPT"}\n');
  assert.equal(
    await stand.ask('/readyz'),
    `503 ${wellVerbose.replace('data_corruption ok', 'data_corruption failed: alarm activated: CORRUPT').replace('+', '-')}\n`,
  );
  assert.equal(await stand.ask('/livez'), '200 ok\n');
});

test('a learner is alive but not ready', async () => {
  const stand = new Stand();
  stand.metrics.set(Scalar.isLearner, 1);
  assert.equal(await stand.ask('/readyz/non_learner'), '503 [-]non_learner failed: not supported for learner\n\n');
});

test('a member whose thread stands still is unwell when the time is up, and its reads are withdrawn', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const stand = new Stand();
  stand.local = 'never';
  stand.linearizable = 'never';
  const answers = Promise.all([stand.ask('/health'), stand.ask('/livez')]);
  t.mock.timers.tick(requestTimeoutMs(settings));
  assert.deepEqual(await answers, [
    '503 {"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}\n',
    '503 [-]serializable_read failed: etcdserver: request timed out\n\n',
  ]);
  assert.equal(stand.cancelled, 2);
});

test('an endpoint whose member does not exist yet', async () => {
  const stand = new Stand();
  stand.exists = false;
  assert.equal(await stand.ask('/health'), '503 {"health":"false","reason":"RAFT NO LEADER"}\n');
  assert.equal(await stand.ask('/livez'), '503 [-]serializable_read failed: etcdserver: server stopped\n\n');
});
