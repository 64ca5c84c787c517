/**
 * What do logins cost those who do not log in? Puts of one client, three ways in turn on the same three members: alone;
 * beside others who log in all the time; and beside a stranger, a process of its own that burns as much of the processor
 * as those logins did, as politely: as far back behind the others, and with rests in between. What the stranger costs is
 * the machine's price for a busy neighbour, which no server can undercut. Auth is on, so the puts carry a token.
 *
 * Run: node dist/bench/logins.js [rounds] [seconds a phase] [puts outstanding] [logins outstanding] [kvorum|etcd-3.5]
 *
 * A login is a bcrypt comparison of cost 10, and the next begins when one is answered: as many as the server gives.
 * Two figures: the p99 of all puts of a kind, over that of all puts alone; and the median of the rounds' ratios, each of
 * two phases of one round. Single rounds are noise. The order of the phases goes round, for the machine drifts.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { getPriority, setPriority } from 'node:os';
import { compareSync, hashSync } from 'bcryptjs';
import { connect, type EtcdClient } from '../src/index.js';
import { Histogram } from '../src/load/histogram.js';
import type { Family } from '../test/support/differential.js';
import { startSubject } from '../test/support/subject.js';

interface Phase {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loginsPerSecond: number;
}

/** What the stranger is to do: so much CPU time in each period. */
interface Burn {
  readonly burnMs: number;
  readonly periodMs: number;
  readonly untilMs: number;
}

const password = 'secret';
const value = 'v'.repeat(256);
const strangersNice = 10;
const strangersSliceMs = 1;
/** The first seconds of a server are slow, and would be most of what a p99 over all rounds tells. */
const warmUpPhases = 4;
const kinds = ['alone', 'logins', 'stranger'] as const;
type Kind = (typeof kinds)[number];

if (process.send === undefined) await compare();
else {
  setPriority(Math.min(getPriority() + strangersNice, 19));
  process.on('message', burn);
}

async function compare(): Promise<void> {
  const [rounds = 12, seconds = 1, puts = 10, logins = 4] = process.argv.slice(2, 6).map(Number);
  const family = (process.argv[6] ?? 'kvorum') as Family;
  const loginMs = cpuMsOfLogin();
  const stranger = fork(import.meta.filename);
  const subject = await startSubject(family, { members: 3 });
  const bare = connect({ endpoints: subject.endpoints });
  await bare.user.add('root', password);
  await bare.role.add('root').catch(() => undefined);
  await bare.user.grantRole('root', 'root');
  await bare.auth.enable();
  const root = connect({ endpoints: subject.endpoints, username: 'root', password });
  const clients = { root, bare };
  const warmUp = { seconds: seconds * warmUpPhases, puts, logins };
  let perSecond = (await phase(clients, warmUp, new Histogram())).loginsPerSecond;

  const seen: Record<Kind, Phase[]> = { alone: [], logins: [], stranger: [] };
  const pooled: Record<Kind, Histogram> = {
    alone: new Histogram(),
    logins: new Histogram(),
    stranger: new Histogram(),
  };
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < kinds.length; turn++) {
      const kind = kinds[(round + turn) % kinds.length] as Kind;
      const untilMs = Date.now() + seconds * 1000;
      const share = (Math.max(perSecond, 0.1) * loginMs) / 1000;
      const task: Burn = { burnMs: strangersSliceMs, periodMs: strangersSliceMs / share, untilMs };
      if (kind === 'stranger') stranger.send(task);
      const outcome = await phase(clients, { seconds, puts, logins: kind === 'logins' ? logins : 0 }, pooled[kind]);
      if (kind === 'stranger') await once(stranger, 'message');
      if (kind === 'logins') perSecond = outcome.loginsPerSecond;
      seen[kind].push(outcome);
    }
    console.log(kinds.map(kind => `${kind} ${textOf(seen[kind].at(-1) as Phase)}`).join('  |  '));
  }
  const loginsPerSecond = median(seen.logins.map(one => one.loginsPerSecond)).toFixed(2);
  console.log(`${family}, ${loginMs.toFixed(0)} ms of CPU a login here, ${loginsPerSecond} logins/s`);
  for (const kind of kinds) {
    const ratios = seen[kind].map((one, round) => one.p99Ms / (seen.alone[round] as Phase).p99Ms);
    const spread = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`;
    const { p50, p99 } = pooled[kind].summary();
    const ofAll = (p99 / pooled.alone.quantile(0.99)).toFixed(2);
    const ofRounds = `median of rounds ${median(ratios).toFixed(2)} (${spread})`;
    console.log(
      `${kind.padEnd(8)} p99 ${p99.toFixed(2)} ms, p50 ${p50.toFixed(2)} ms; p99 : alone = ${ofAll}, ${ofRounds}`,
    );
  }
  stranger.kill();
  root.close();
  bare.close();
  await subject.stop();
}

interface Load {
  readonly seconds: number;
  readonly puts: number;
  readonly logins: number;
}

/** Puts as fast as they are answered, `logins` logins at a time beside them; their latencies are added to `pooled`. */
async function phase(clients: { root: EtcdClient; bare: EtcdClient }, load: Load, pooled: Histogram): Promise<Phase> {
  const fromMs = performance.now();
  const untilMs = fromMs + load.seconds * 1000;
  const times = new Histogram();
  let loggedIn = 0;
  const put = async (lane: number): Promise<void> => {
    while (performance.now() < untilMs) {
      const startMs = performance.now();
      await clients.root.put(`key-${lane}-${times.count % 1000}`, value);
      const tookMs = performance.now() - startMs;
      times.record(tookMs);
      pooled.record(tookMs);
    }
  };
  const logIn = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      await clients.bare.auth.authenticate('root', password);
      loggedIn += 1;
    }
  };
  await Promise.all([
    ...Array.from({ length: load.puts }, (_, lane) => put(lane)),
    ...Array.from({ length: load.logins }, () => logIn()),
  ]);
  const tookSeconds = (performance.now() - fromMs) / 1000;
  return {
    perSecond: times.count / load.seconds,
    p50Ms: times.quantile(0.5),
    p99Ms: times.quantile(0.99),
    loginsPerSecond: loggedIn / tookSeconds,
  };
}

/** What one comparison takes of a processor. */
function cpuMsOfLogin(): number {
  const hash = hashSync(password, 10);
  const times = Array.from({ length: 5 }, () => {
    const before = process.cpuUsage();
    compareSync(password, hash);
    return process.cpuUsage(before).user / 1000;
  });
  return median(times);
}

/** The stranger's life: burn, rest, burn. Says when it is over. */
function burn({ burnMs, periodMs, untilMs }: Burn): void {
  const rest = new Int32Array(new SharedArrayBuffer(4));
  for (let nextMs = Date.now(); Date.now() < untilMs; nextMs += periodMs) {
    const before = process.cpuUsage();
    while (process.cpuUsage(before).user / 1000 < burnMs && Date.now() < untilMs);
    const restMs = Math.min(nextMs + periodMs, untilMs) - Date.now();
    if (restMs > 0) Atomics.wait(rest, 0, 0, restMs);
  }
  process.send?.('over');
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function textOf({ perSecond, p50Ms, p99Ms }: Phase): string {
  return `${perSecond.toFixed(0).padStart(5)} puts/s, p50 ${p50Ms.toFixed(2)}, p99 ${p99Ms.toFixed(2)} ms`;
}
