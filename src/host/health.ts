/**
 * Whether a member is well, over plain HTTP: etcd's /health, /livez and /readyz.
 *
 *     /health            alarms, a leader, a read          {"health":"true","reason":""}
 *     /livez             serializable_read                 ok
 *     /readyz            data_corruption, serializable_read, linearizable_read, non_learner
 *     /livez/<check>     one of them
 *
 * Checks that read ask the member, and wait for it as long as etcd does: one that hangs is unwell by then. What the host
 * knows by itself (alarms, the leader) costs the member nothing.
 */
import { alarmBit, Cell, type MemberSettings, requestTimeoutMs, type StatusCells } from '../transport/control.js';
import { type MetricCells, Scalar } from '../transport/metric-cells.js';
import { type EtcdErrorCode, etcdError } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { encode } from '../wire/schema.js';
import { type Exchange, type HeaderPair, respondText } from './gateway/exchange.js';
import type { MemberPort } from './member-port.js';

const alarms = [
  { type: 1, name: 'NOSPACE' },
  { type: 2, name: 'CORRUPT' },
] as const;
const corrupt = alarms[1];

/** The member behind an endpoint, as far as its health goes. */
export interface HealthMember {
  readonly port: Pick<MemberPort, 'open' | 'cancel'>;
  readonly cells: StatusCells;
  readonly metrics: MetricCells;
  readonly recipe: { readonly settings: Pick<MemberSettings, 'electionTimeoutMs'> };
}

/** What became of one check. */
export interface CheckCounts {
  readonly type: CheckType;
  readonly name: string;
  healthy: boolean;
  successes: number;
  errors: number;
}

type CheckType = 'livez' | 'readyz';
/** Resolves with what is wrong, if anything is. */
type Check = (member: HealthMember) => Promise<string | undefined>;

const checks: Readonly<Record<CheckType, Readonly<Record<string, Check>>>> = {
  livez: { serializable_read: member => read(member, true) },
  readyz: {
    data_corruption: async ({ cells }) =>
      hasAlarm(cells, corrupt.type) ? `alarm activated: ${corrupt.name}` : undefined,
    serializable_read: member => read(member, true),
    linearizable_read: member => read(member, false),
    non_learner: async ({ metrics }) => (metrics.get(Scalar.isLearner) > 0 ? 'not supported for learner' : undefined),
  },
};

/** What health checks of an endpoint came to. */
export class HealthCounts {
  successes = 0;
  failures = 0;
  readonly #checks = new Map<string, CheckCounts>();

  constructor() {
    for (const type of ['livez', 'readyz'] as const) {
      for (const name of Object.keys(checks[type])) {
        this.#checks.set(`${type} ${name}`, { type, name, healthy: false, successes: 0, errors: 0 });
      }
    }
  }

  checked(type: CheckType, name: string, healthy: boolean): void {
    const counts = this.#checks.get(`${type} ${name}`) as CheckCounts;
    counts.healthy = healthy;
    if (healthy) counts.successes += 1;
    else counts.errors += 1;
  }

  /** The checks that were made. */
  checks(): CheckCounts[] {
    return [...this.#checks.values()].filter(({ successes, errors }) => successes + errors > 0);
  }
}

/** Answers a path of health checks; false: it is none. */
export function answerHealth(
  exchange: Exchange,
  path: string,
  member: HealthMember | undefined,
  counts: HealthCounts,
): boolean {
  const [, type = '', name, more] = path.split('/');
  if (more !== undefined || (type !== 'health' && type !== 'livez' && type !== 'readyz')) return false;
  if (name !== undefined && (type === 'health' || !Object.hasOwn(checks[type], name))) return false;
  if (exchange.method !== 'GET') respondText(exchange, 405, 'Method Not Allowed', [['Allow', 'GET']]);
  else if (type === 'health') void answerOverall(exchange, member, counts);
  else void answerChecks(exchange, type, name, member, counts);
  return true;
}

const plainText: HeaderPair = ['Content-Type', 'text/plain; charset=utf-8'];

async function answerOverall(exchange: Exchange, member: HealthMember | undefined, counts: HealthCounts) {
  const reason = await whatIsWrong(queryOf(exchange.target), member);
  if (reason === undefined) {
    counts.successes += 1;
    exchange.respond(200, [plainText], '{"health":"true","reason":""}');
    return;
  }
  counts.failures += 1;
  exchange.respond(503, [plainText], `${JSON.stringify({ health: 'false', reason })}\n`);
}

async function whatIsWrong(query: URLSearchParams, member: HealthMember | undefined): Promise<string | undefined> {
  if (member === undefined) return 'RAFT NO LEADER';
  const excluded = query.getAll('exclude');
  for (const { type, name } of alarms) {
    if (hasAlarm(member.cells, type) && !excluded.includes(name)) return `ALARM ${name}`;
  }
  const serializable = query.get('serializable') === 'true';
  if (!serializable && member.cells.get(Cell.leaderPosition) < 0) return 'RAFT NO LEADER';
  const failure = await read(member, serializable);
  return failure === undefined ? undefined : `RANGE ERROR:${failure}`;
}

async function answerChecks(
  exchange: Exchange,
  type: CheckType,
  only: string | undefined,
  member: HealthMember | undefined,
  counts: HealthCounts,
) {
  const query = queryOf(exchange.target);
  // The path of one check is that check, whatever is to be excluded.
  const excluded = only === undefined ? query.getAll('exclude') : [];
  const wanted = Object.keys(checks[type]).filter(name => (only ?? name) === name && !excluded.includes(name));
  const failures = await Promise.all(wanted.map(name => run(checks[type][name] as Check, member)));
  const lines = wanted.map((name, at) => {
    const failure = failures[at];
    counts.checked(type, name, failure === undefined);
    return failure === undefined ? `[+]${name} ok\n` : `[-]${name} failed: ${failure}\n`;
  });
  if (failures.some(failure => failure !== undefined)) {
    respondText(exchange, 503, lines.join(''));
    return;
  }
  respondText(exchange, 200, `${query.has('verbose') ? lines.join('') : ''}ok`);
}

async function run(check: Check, member: HealthMember | undefined): Promise<string | undefined> {
  return member === undefined ? 'etcdserver: server stopped' : await check(member);
}

/** Reads one key or none; resolves with what is wrong, in etcd's words, if it does not come back in time. */
function read({ port, recipe }: HealthMember, serializable: boolean): Promise<string | undefined> {
  return new Promise(resolve => {
    const range = encode('etcdserverpb.RangeRequest', { key: new Uint8Array(1), limit: 1n, serializable });
    const finish = (failure: string | undefined): void => {
      clearTimeout(timer);
      resolve(failure);
    };
    const waiter = {
      reply: () => finish(undefined),
      end: (code: EtcdErrorCode, detail: string) => finish(etcdError(code, detail).message),
    };
    const timer = setTimeout(() => {
      port.cancel(requestId);
      finish('etcdserver: request timed out');
    }, requestTimeoutMs(recipe.settings)); // etcd's health checks wait as long as its requests
    const requestId = port.open(Method.KvRange, range, false, waiter, undefined, true);
  });
}

function hasAlarm(cells: StatusCells, type: number): boolean {
  return (cells.get(Cell.alarms) & alarmBit(type)) !== 0;
}

function queryOf(target: string): URLSearchParams {
  const mark = target.indexOf('?');
  return new URLSearchParams(mark === -1 ? '' : target.slice(mark + 1));
}
