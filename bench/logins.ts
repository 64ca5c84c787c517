/**
 * What do logins cost those who do not log in? Puts of one client while others log in all the time, beside the same puts
 * without: pairs of phases one after the other, on the same three members. Auth is on, so the puts carry a token.
 *
 * Run: node dist/bench/logins.js [pairs] [seconds a phase] [puts outstanding] [logins outstanding] [kvorum|etcd-3.5]
 *
 * A login is a bcrypt comparison of cost 10. What counts is the ratio of the phases' p99; single pairs are noise.
 */
import { connect, type EtcdClient } from '../src/index.js';
import type { Family } from '../test/support/differential.js';
import { startSubject } from '../test/support/subject.js';

const [pairs = 5, seconds = 4, puts = 10, logins = 4] = process.argv.slice(2, 6).map(Number);
const family = (process.argv[6] ?? 'kvorum') as Family;
const password = 'secret';
const value = 'v'.repeat(256);

interface Phase {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loginsPerSecond: number;
}

const subject = await startSubject(family, { members: 3 });
const bare = connect({ endpoints: subject.endpoints });
await bare.user.add('root', password);
await bare.role.add('root').catch(() => undefined);
await bare.user.grantRole('root', 'root');
await bare.auth.enable();
const root = connect({ endpoints: subject.endpoints, username: 'root', password });
await phase(root, 0);

const ratios: number[] = [];
for (let pair = 1; pair <= pairs; pair++) {
  // Each goes first in turn: the machine drifts.
  const first = await phase(root, pair % 2 === 0 ? logins : 0);
  const second = await phase(root, pair % 2 === 0 ? 0 : logins);
  const [quiet, busy] = pair % 2 === 0 ? [second, first] : [first, second];
  ratios.push(busy.p99Ms / quiet.p99Ms);
  console.log(`${pair}  quiet ${textOf(quiet)}  |  ${busy.loginsPerSecond.toFixed(1)} logins/s ${textOf(busy)}`);
}
ratios.sort((a, b) => a - b);
const [least, median, most] = [ratios[0], ratios[ratios.length >> 1], ratios.at(-1)].map(ratio => ratio?.toFixed(2));
console.log(`${family}: p99 of puts with logins : without = ${median} (${least}–${most})`);
root.close();
bare.close();
await subject.stop();

/** Puts as fast as they are answered, `loggingIn` logins at a time beside them. */
async function phase(client: EtcdClient, loggingIn: number): Promise<Phase> {
  const fromMs = performance.now();
  const untilMs = fromMs + seconds * 1000;
  const times: number[] = [];
  let loggedIn = 0;
  const put = async (lane: number): Promise<void> => {
    while (performance.now() < untilMs) {
      const startMs = performance.now();
      await client.put(`key-${lane}-${times.length % 1000}`, value);
      times.push(performance.now() - startMs);
    }
  };
  const logIn = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      await bare.auth.authenticate('root', password);
      loggedIn += 1;
    }
  };
  await Promise.all([
    ...Array.from({ length: puts }, (_, lane) => put(lane)),
    ...Array.from({ length: loggingIn }, () => logIn()),
  ]);
  const tookSeconds = (performance.now() - fromMs) / 1000;
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor(times.length * share)] ?? Number.NaN;
  return {
    perSecond: times.length / seconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    loginsPerSecond: loggedIn / tookSeconds,
  };
}

function textOf({ perSecond, p50Ms, p99Ms }: Phase): string {
  return `${perSecond.toFixed(0).padStart(6)} puts/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
}
