/**
 * `kvorum member add|remove|promote|list`: the membership of a running cluster, in one step.
 *
 *     kvorum member add --learner        a new member: the running kvorum gives it a thread and a free port at once
 *     kvorum member promote ID           a learner that has caught up becomes a voter
 *     kvorum member remove ID            its thread ends and its data is deleted
 *
 * A thin client of any member's endpoint; ids are hexadecimal, as everywhere. `etcdctl member` does the same.
 */
import { EtcdError, type Member } from '../client/client.js';
import { connect } from '../client/connect.js';
import { StartError } from '../host/data-directory.js';
import { freePeerUrl } from '../host/options.js';
import { defaultEndpoints, type Printer, readArgs } from './arguments.js';
import { askAtTerminal, credentialOptions, credentialsUsage, readCredentials } from './credentials.js';
import { tlsFlags, tlsOptionsOf, tlsUsage } from './tls.js';

export const memberUsage = [
  'usage: kvorum member add [--learner] [--peer-urls URL,…]',
  '       kvorum member remove|promote ID',
  '       kvorum member list',
  `       all: [--endpoints HOST:PORT,…] ${tlsUsage}`,
  `       with auth on also: ${credentialsUsage}`,
  '',
].join('\n');

const options = {
  endpoints: { type: 'string', default: defaultEndpoints },
  learner: { type: 'boolean', default: false },
  'peer-urls': { type: 'string' },
  ...tlsFlags,
  ...credentialOptions,
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** How long an added member may take to be there, and how often one looks. */
const startTimeoutMs = 30_000;
const lookEveryMs = 100;

type Client = ReturnType<typeof connect>;

/** Runs a verb; the exit code. Rejects with StartError for a wrong command line and for what the cluster refuses. */
export async function memberCommand(args: readonly string[], print: Printer): Promise<number> {
  const { values, positionals } = readArgs(args, options);
  const [verb, ...ids] = positionals;
  if (values.help) {
    print.out(memberUsage);
    return 0;
  }
  const isKnown = verb === 'add' || verb === 'list' || verb === 'remove' || verb === 'promote';
  const idsWanted = verb === 'remove' || verb === 'promote' ? 1 : 0;
  if (!isKnown || ids.length !== idsWanted) throw new StartError(memberUsage.trimEnd());
  const tls = tlsOptionsOf(values, process.env);
  const credentials = await readCredentials(values, process.env, askAtTerminal());
  const endpoints = values.endpoints.split(',');
  const client = connect({ endpoints, ...(tls === undefined ? {} : { tls }), ...credentials });
  try {
    if (verb === 'add') await add(client, values['peer-urls']?.split(','), values.learner, print);
    else if (verb === 'list') for (const member of await client.memberList()) print.out(`${lineOf(member)}\n`);
    else await change(client, verb, idOf(ids[0] as string), print);
    return 0;
  } catch (error) {
    if (error instanceof EtcdError || error instanceof TypeError) throw new StartError(error.message);
    throw error;
  } finally {
    client.close();
  }
}

async function add(
  client: Client,
  peerUrls: readonly string[] | undefined,
  learner: boolean,
  print: Printer,
): Promise<void> {
  const used = (await client.memberList()).flatMap(member => member.peerUrls);
  const { id } = await client.memberAdd(peerUrls ?? [freePeerUrl(used)], { learner });
  for (const untilMs = performance.now() + startTimeoutMs; performance.now() < untilMs; ) {
    const added = (await client.memberList()).find(member => member.id === id);
    if (added !== undefined && added.name !== '') return print.out(`added ${lineOf(added)}\n`);
    await new Promise(resolve => setTimeout(resolve, lookEveryMs));
  }
  throw new StartError(
    `member ${id.toString(16)} is added, but nobody has started it; is the cluster a kvorum with --start-added-members?`,
  );
}

async function change(client: Client, verb: 'remove' | 'promote', id: bigint, print: Printer): Promise<void> {
  if (verb === 'remove') await client.memberRemove(id);
  else await client.memberPromote(id);
  print.out(`${verb}d ${id.toString(16)}\n`);
}

function idOf(text: string): bigint {
  if (!/^[0-9a-f]{1,16}$/i.test(text)) throw new StartError(`${text} is no member id; see kvorum member list`);
  return BigInt(`0x${text}`);
}

function lineOf({ id, name, clientUrls, isLearner }: Member): string {
  const state = name === '' ? 'unstarted' : `${name}  ${clientUrls.join(',')}`;
  return `${id.toString(16)}  ${state}${isLearner ? '  learner' : ''}`;
}
