/**
 * `kvorum dashboards --out DIR`: everything to watch a cluster with Prometheus and Grafana, for the ports it runs on.
 *
 *     package's dashboards/  ──copy──>  DIR/compose.yml, DIR/prometheus/…, DIR/grafana/…
 *     members' client URLs   ──write──> DIR/prometheus/targets.json, the only file that names a port
 *
 * The targets are the members of the cluster that answers at --endpoints; when nobody does, --endpoints as they stand.
 * Files that are there already are written anew; others stay. Prometheus watches targets.json: run the command again
 * after a member was added, and its series appear.
 */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EtcdError } from '../client/client.js';
import { connect } from '../client/connect.js';
import { makeDirectories, StartError } from '../host/data-directory.js';
import { defaultEndpoints, type Printer, readArgs } from './arguments.js';

export const dashboardsUsage = 'usage: kvorum dashboards --out DIR [--endpoints HOST:PORT,…]\n';

const options = {
  out: { type: 'string' },
  endpoints: { type: 'string', default: defaultEndpoints },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** What of the package's folder is written: not its pictures. */
const parts = ['compose.yml', 'prometheus', 'grafana'] as const;
const packageFolder = fileURLToPath(new URL('../../../dashboards/', import.meta.url));

const askTimeoutMs = 2_000;

/** Runs the verb; the exit code. Rejects with StartError for a wrong command line or a directory it cannot write. */
export async function dashboardsCommand(args: readonly string[], print: Printer): Promise<number> {
  const { values, positionals } = readArgs(args, options);
  if (values.help) {
    print.out(dashboardsUsage);
    return 0;
  }
  if (values.out === undefined || positionals.length > 0) throw new StartError(dashboardsUsage.trimEnd());
  const targets = await membersAt(values.endpoints.split(',').map(hostOf), print);
  try {
    makeDirectories(values.out);
    for (const part of parts) cpSync(join(packageFolder, part), join(values.out, part), { recursive: true });
    writeFileSync(join(values.out, 'prometheus', 'targets.json'), targetsFile(targets));
  } catch (error) {
    throw new StartError(`cannot write ${values.out}: ${(error as Error).message}; choose another with --out`);
  }
  print.out(summary(values.out, targets));
  return 0;
}

/** `host:port` of the members of the cluster at `endpoints`; these themselves when nobody answers there. */
async function membersAt(endpoints: string[], print: Printer): Promise<string[]> {
  const client = connect({ endpoints });
  try {
    const members = await client.memberList({ timeoutMs: askTimeoutMs });
    return members.flatMap(({ clientUrls }) => clientUrls.slice(0, 1).map(hostOf));
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    print.error(`no cluster says who its members are (${error.message}); taking ${endpoints.join(', ')}\n`);
    return endpoints;
  } finally {
    client.close();
  }
}

/** An endpoint as Prometheus names a target: `http://127.0.0.1:2379` and `127.0.0.1:2379` are the same. Throws StartError. */
function hostOf(endpoint: string): string {
  const host = endpoint.replace(/^https?:\/\//, '').replace(/\/$/, '');
  if (!/^[^/\s]+:\d+$/.test(host)) throw new StartError(`${endpoint} is no HOST:PORT`);
  return host;
}

/** Prometheus' own format of targets that are read from a file; the label is for etcd's dashboards. */
function targetsFile(targets: readonly string[]): string {
  return `${JSON.stringify([{ targets, labels: { cluster: 'dev' } }], undefined, 2)}\n`;
}

function summary(directory: string, targets: readonly string[]): string {
  return [
    `written to ${directory} for ${targets.join(', ')}`,
    '',
    `  docker compose -f ${join(directory, 'compose.yml')} up`,
    '',
    'starts Prometheus on http://127.0.0.1:9090 and Grafana on http://127.0.0.1:3000',
    '',
  ].join('\n');
}
