#!/usr/bin/env node
/**
 * The `kvorum` command: `kvorum [start] [flags]`, `kvorum member add|remove|promote|list`,
 * `kvorum snapshot save|status|check|restore FILE`, `kvorum bench OPERATION`, `kvorum dashboards --out DIR`.
 *
 * A start-up problem is one line on stderr that names the fix, and exit code 1.
 */
import { etcdVersion, kvorumVersion } from '../base/version.js';
import { StartError } from '../host/data-directory.js';
import { MemberThread } from '../host/member-thread.js';
import { defaultClientPorts, membersMax } from '../host/options.js';
import type { Printer } from './arguments.js';
import { booleanOf, clusterOptions, flags, readFlags, variableOf } from './flags.js';

type Command = (args: readonly string[], print: Printer) => Promise<number>;

/** The verbs beside start, loaded when asked for: a start does without them. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  member: async () => (await import('./member.js')).memberCommand,
  snapshot: async () => (await import('./snapshot.js')).snapshotCommand,
  dashboards: async () => (await import('./dashboards.js')).dashboardsCommand,
  bench: async () => (await import('./bench/bench.js')).benchCommand,
};

async function main(args: string[]): Promise<void> {
  const verb = args[0] !== undefined && !args[0].startsWith('-') ? args[0] : 'start';
  const rest = verb === args[0] ? args.slice(1) : args;
  if (verb === 'help') return print(helpText());
  const command = await commands[verb]?.();
  if (command !== undefined) {
    process.exitCode = await command(rest, { out: print, error: text => void process.stderr.write(text) });
    return;
  }
  if (verb !== 'start') {
    throw new StartError(
      `unknown command ${verb}; there are start, ${Object.keys(commands).join(', ')}, see kvorum --help`,
    );
  }
  const values = readFlags(
    rest.map(argument => (argument === '-h' ? '--help' : argument)),
    process.env,
  );
  if (booleanOf(values, 'help')) return print(helpText());
  if (booleanOf(values, 'version')) return print(`kvorum ${kvorumVersion}\netcd API ${etcdVersion}\n`);
  const options = clusterOptions(values, defaultClientPorts);
  // The members' threads load beside this one; with all of the host loaded first they would begin much later.
  const members = Math.min(options.members ?? 1, membersMax);
  const threads = Array.from({ length: members }, (_, position) => new MemberThread(position));
  const { start } = await import('./start.js');
  await start(values, options, threads);
}

function helpText(): string {
  const rows = flags.map(flag => [
    `  --${flag.name}${flag.placeholder === '' ? '' : ` ${flag.placeholder}`}`,
    flag.help,
  ]);
  const width = Math.max(...rows.map(([left]) => (left as string).length)) + 2;
  return [
    'kvorum: a whole etcd cluster in one process',
    '',
    'usage: kvorum [start] [flags]',
    '       kvorum member add|remove|promote|list',
    '       kvorum bench put|range|txn-put|txn-mixed|watch|watch-latency|lease-keepalive [--vs URL,…]',
    '       kvorum snapshot check FILE',
    '       kvorum snapshot status FILE [-w simple|json|fields|table]',
    '       kvorum snapshot save FILE [--endpoints HOST:PORT]',
    '       kvorum snapshot restore FILE --data-dir DIR [--members N]',
    '       kvorum dashboards --out DIR [--endpoints HOST:PORT,…]',
    '',
    ...rows.map(([left, help]) => `${(left as string).padEnd(width)}${help}`),
    '',
    `Every flag is also an environment variable: --data-dir is ${variableOf('data-dir')}.`,
    '',
  ].join('\n');
}

function print(text: string): void {
  process.stdout.write(text);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  if (!(error instanceof StartError)) throw error;
  process.stderr.write(`kvorum: ${error.message}\n`);
  process.exitCode = 1;
});
