/**
 * `kvorum start`: runs a cluster until a signal ends it.
 *
 * On a terminal it prints a short summary for people; otherwise its output is pino's JSON lines on stderr, the last of
 * the start being etcd's own `ready to serve client requests`.
 */
import { Cluster } from '../host/cluster.js';
import type { MemberThread } from '../host/member-thread.js';
import type { ClusterOptions } from '../host/options.js';
import { evenSizeWarning, type FlagValues, unknownVariables } from './flags.js';

/** `threads`: of the first members, loading already. */
export async function start(values: FlagValues, options: ClusterOptions, threads: MemberThread[]): Promise<void> {
  const person = process.stdout.isTTY === true;
  const startedMs = performance.now();
  const quiet = person && values.get('log-level') === undefined;
  const cluster = await Cluster.start(quiet ? { ...options, logLevel: 'warn' } : options, threads);
  stopOnSignals(cluster);
  const warnings = [evenSizeWarning(cluster.members.length)].filter(text => text !== undefined);
  for (const name of unknownVariables(process.env)) warnings.push(`unrecognized environment variable ${name}`);
  const tookMs = Math.round(performance.now() - startedMs);
  if (person && cluster.exposure !== undefined) warnings.push(cluster.exposure);
  if (person) process.stdout.write(summary(cluster, warnings, options.ephemeral === true, tookMs));
  else logReady(cluster, warnings, tookMs);
}

function logReady(cluster: Cluster, warnings: readonly string[], tookMs: number): void {
  for (const warning of warnings) cluster.logger.warn(warning);
  cluster.logger.info(
    {
      members: cluster.members.map(({ name, id, endpoint }) => ({ name, id, endpoint })),
      leader: cluster.leader()?.name,
      'data-dir': cluster.dataDir,
      ...(cluster.tls === undefined ? {} : { tls: cluster.tls.files }),
      took: `${tookMs}ms`,
    },
    'ready to serve client requests',
  );
}

function summary(cluster: Cluster, warnings: readonly string[], ephemeral: boolean, tookMs: number): string {
  const leader = cluster.leader();
  const addresses = cluster.endpoints.map(endpoint => endpoint.replace('http://', ''));
  const files = cluster.tls?.files;
  const credentials = files === undefined ? '' : ` --cacert=${files.ca} --cert=${files.cert} --key=${files.key}`;
  return [
    `kvorum is ready after ${tookMs} ms`,
    '',
    ...cluster.members.map(
      member => `  ${member.name}  ${member.id.padStart(16)}  ${member.endpoint}${member === leader ? '  leader' : ''}`,
    ),
    '',
    `  data      ${cluster.dataDir}${ephemeral ? ' (removed on exit)' : ''}`,
    `  connect   etcdctl --endpoints=${addresses.join(',')}${credentials} put greeting hello`,
    '  stop      Ctrl-C',
    ...warnings.map(warning => `  warning   ${warning}`),
    '',
    '',
  ].join('\n');
}

/** The first signal closes in order (the cluster bounds its own steps), the second ends the process at once. */
function stopOnSignals(cluster: Cluster): void {
  let closingSinceMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (closingSinceMs !== undefined) {
      if (performance.now() - closingSinceMs < sameSignalMs) return;
      process.exit(signal === 'SIGINT' ? 130 : 143);
    }
    closingSinceMs = performance.now();
    cluster.logger.info({ signal }, 'received signal; shutting down');
    setTimeout(() => process.exit(1), closeMs).unref();
    void cluster.close().then(() => process.exit(0));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}

/** Under `npm start` one Ctrl-C arrives twice, from the terminal and from npm: that is not a second signal. */
const sameSignalMs = 200;

/** The whole close takes less than this, or the process ends without it; nothing acknowledged depends on it. */
const closeMs = 5_000;
