/**
 * `kvorum snapshot restore FILE --data-dir DIR`: a new cluster that begins with the file's content.
 *
 * The flags are etcd's where they mean something here. One directory holds all members, so all are restored at once:
 * `--name` and `--initial-advertise-peer-urls` are only checked against `--initial-cluster`, which names the members and
 * the peer URLs their ids come from.
 */
import { resolve } from 'node:path';
import { StartError } from '../host/data-directory.js';
import { memberName, membersMax, peerUrl } from '../host/options.js';
import { type RestoreOptions, restoreSnapshot } from '../host/restore.js';
import { oneFile, type Printer, ProgressLine, readArgs } from './arguments.js';

export const restoreUsage = [
  '       kvorum snapshot restore FILE [--data-dir DIR] [--members N] [--initial-cluster-token TOKEN]',
  '           [--initial-cluster N1=URL,N2=URL,… [--name NAME] [--initial-advertise-peer-urls URL,…]]',
  '           [--skip-hash-check] [--bump-revision N --mark-compacted]',
];

const tokenDefault = 'etcd-cluster';

const options = {
  'data-dir': { type: 'string', default: 'kvorum.data' },
  members: { type: 'string' },
  name: { type: 'string' },
  'initial-cluster': { type: 'string' },
  'initial-cluster-token': { type: 'string', default: tokenDefault },
  'initial-advertise-peer-urls': { type: 'string' },
  'skip-hash-check': { type: 'boolean', default: false },
  'bump-revision': { type: 'string', default: '0' },
  'mark-compacted': { type: 'boolean', default: false },
} as const;

type Members = RestoreOptions['members'];

/** Runs the verb; the exit code. */
export async function restoreCommand(args: readonly string[], print: Printer): Promise<number> {
  const { values, positionals } = readArgs(args, options);
  const file = oneFile('restore', positionals);
  const members = membersOf(values);
  const token = values['initial-cluster-token'];
  const dataDir = values['data-dir'];
  const progress = new ProgressLine(print, `restoring ${file}`);
  const { records, revision } = await restoreSnapshot({
    file,
    dataDir,
    members,
    token,
    skipHashCheck: values['skip-hash-check'],
    bumpRevision: bumpOf(values['bump-revision'], values['mark-compacted']),
    onProgress: ({ doneBytes, totalBytes }) => progress.tell(doneBytes, totalBytes),
  });
  const start = [`kvorum --data-dir ${dataDir} --members ${members.length}`];
  if (token !== tokenDefault) start.push(`--initial-cluster-token ${token}`);
  const count = `${members.length} member${members.length === 1 ? '' : 's'}`;
  print.out(`restored ${resolve(dataDir)}: ${count}, revision ${revision}, ${records} records\n`);
  print.out(`start it with: ${start.join(' ')}\n`);
  return 0;
}

interface MemberFlags {
  readonly members?: string | undefined;
  readonly name?: string | undefined;
  readonly 'initial-cluster'?: string | undefined;
  readonly 'initial-advertise-peer-urls'?: string | undefined;
}

/** Throws StartError. */
function membersOf(flags: MemberFlags): Members {
  const { members: count, name } = flags;
  const map = flags['initial-cluster'];
  if (count !== undefined && !/^[1-9]\d?$/.test(count)) throw wrongCount(count);
  const wanted = count === undefined ? 3 : Number(count);
  const named = map === undefined ? undefined : clusterOf(map);
  if (named !== undefined && count !== undefined && named.length !== wanted) {
    throw new StartError(`--initial-cluster names ${named.length} members, --members says ${count}; drop one of them`);
  }
  const members =
    named ?? Array.from({ length: wanted }, (_, at) => ({ name: memberName(at), peerUrls: [peerUrl(at)] }));
  if (members.length > membersMax) throw wrongCount(members.length);
  const own = name === undefined ? undefined : members.find(member => member.name === name);
  if (name !== undefined && own === undefined) {
    throw new StartError(`couldn't find local name "${name}" in the initial cluster configuration`);
  }
  const urls = flags['initial-advertise-peer-urls'];
  if (urls !== undefined) checkAdvertised(urls.split(','), own ?? members);
  return members;
}

function wrongCount(count: string | number): StartError {
  return new StartError(`--members must be a whole number from 1 to ${membersMax}, not ${count}; use 3`);
}

/** `m1=http://host:2380,m2=…`; a name may come several times, with a URL each. Throws StartError. */
function clusterOf(text: string): Members {
  const urlsByName = new Map<string, string[]>();
  for (const part of text.split(',')) {
    const [, name = '', url = ''] = /^([^=]+)=(.*)$/.exec(part.trim()) ?? [];
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) || !/^https?:\/\/[^/\s]+:\d+$/.test(url)) {
      throw new StartError(`--initial-cluster: "${part}" is not NAME=URL; write m1=http://127.0.0.1:2380,m2=…`);
    }
    if (['lock', 'cluster.json', 'tls'].includes(name)) {
      throw new StartError(`--initial-cluster: no member can be ${name}`);
    }
    urlsByName.set(name, [...(urlsByName.get(name) ?? []), url]);
  }
  const all = [...urlsByName.values()].flat();
  const twice = all.find((url, at) => all.indexOf(url) !== at);
  if (twice !== undefined) throw new StartError(`--initial-cluster has ${twice} twice; peer URLs must differ`);
  return [...urlsByName].map(([name, peerUrls]) => ({ name, peerUrls }));
}

function checkAdvertised(urls: readonly string[], own: Members[number] | Members): void {
  if (!('name' in own)) {
    throw new StartError('--initial-advertise-peer-urls are those of one member; say which with --name');
  }
  const missing = own.peerUrls.find(url => !urls.includes(url));
  if (missing !== undefined) {
    throw new StartError(
      `--initial-cluster has ${own.name}=${missing} but missing from --initial-advertise-peer-urls=${urls.join(',')}`,
    );
  }
  const further = urls.find(url => !own.peerUrls.includes(url));
  if (further !== undefined) {
    throw new StartError(`--initial-advertise-peer-urls has ${further} but missing from --initial-cluster`);
  }
}

/** etcd wants both flags or none. Throws StartError. */
function bumpOf(bump: string, markCompacted: boolean): number {
  const revisions = /^\d{1,15}$/.test(bump) ? Number(bump) : undefined;
  if (revisions === undefined) throw new StartError(`--bump-revision is a whole number, not ${bump}`);
  if (revisions > 0 && !markCompacted) {
    throw new StartError(
      '--mark-compacted required if --bump-revision is set: watchers must see that revisions are missing',
    );
  }
  if (revisions === 0 && markCompacted) throw new StartError('--mark-compacted needs --bump-revision');
  return revisions;
}
