/**
 * Runs etcd's own command-line client against a cluster and makes its output comparable between clusters.
 *
 * What names a cluster is replaced by what it stands for: endpoints become E1, E2, E3 with the leader's first, member
 * ids ID1…, member names NAME1…, the cluster id CLUSTER, peer addresses PEER. What is measured or counted by the server
 * (terms, indexes, sizes, times, its version) becomes its kind. JSON, tables and `fields` output are compared as
 * values, cell by cell; everything else as text.
 */
import { type ControlOutput, ControlSession } from './control-session.js';
import type { Subject } from './subject.js';

/** One command of a program. */
export interface ControlCommand {
  readonly flags: readonly string[];
  /** Standard input; none when absent. */
  readonly input?: string;
  /** Which endpoints it is given: the leader's (default), another member's (the leader's when it is alone) or all. */
  readonly endpoints?: 'leader' | 'follower' | 'all';
}

/** What a command showed, ready to be compared with deepEqual. */
export interface ControlResult {
  readonly command: string;
  /** The exit code, or the signal that ended it. */
  readonly code: number | string | null;
  readonly output: unknown;
  /** The lines that etcdctl itself wrote; its log lines are left out. */
  readonly errors: readonly string[];
}

/** A cluster as etcdctl sees it: the names that differ between clusters and what stands for them. */
export class ControlledCluster {
  readonly #control: string;
  readonly #endpoints: readonly string[];
  /** Text in outputs to its replacement, longest first. */
  #labels: readonly (readonly [string, string])[];

  private constructor(control: string, endpoints: readonly string[], labels: Map<string, string>) {
    this.#control = control;
    this.#endpoints = endpoints;
    this.#labels = [...labels].sort(([a], [b]) => b.length - a.length);
  }

  /** Asks the cluster for its members; `control` is the etcdctl program. */
  static async of(subject: Subject, control: string): Promise<ControlledCluster> {
    const all = subject.endpoints.join(',');
    const status = await runControl(control, all, ['endpoint', 'status', '-w', 'json']);
    const list = await runControl(control, all, ['member', 'list', '-w', 'json']);
    if (status.code !== 0 || list.code !== 0) throw new Error(`etcdctl: ${status.stderr}\n${list.stderr}`);
    const statuses = parseJson(status.stdout) as { Endpoint: string; Status: StatusJson }[];
    const { members } = parseJson(list.stdout) as { members: { ID: string; name: string }[] };
    const leaderFirst = [...statuses].sort((a, b) => Number(leads(b.Status)) - Number(leads(a.Status)));
    const labels = new Map<string, string>();
    for (const [i, { Endpoint, Status }] of leaderFirst.entries()) {
      const id = Status.header.member_id;
      labels.set(Endpoint, `E${i + 1}`);
      for (const form of idForms(id)) labels.set(form, `ID${i + 1}`);
      const name = members.find(member => member.ID === id)?.name;
      if (name === undefined) throw new Error(`member ${id} answers but is not listed`);
      labels.set(name, `NAME${i + 1}`);
      for (const form of idForms(Status.header.cluster_id)) labels.set(form, 'CLUSTER');
    }
    const endpoints = leaderFirst.map(({ Endpoint }) => Endpoint);
    return new ControlledCluster(control, endpoints, labels);
  }

  async run(command: ControlCommand): Promise<ControlResult> {
    const { flags, input } = command;
    return this.result(flags, await this.#session(command, input ?? null).ended());
  }

  /** Starts a command that goes on until it is ended; its standard input stays open. */
  open(command: ControlCommand): ControlSession {
    return this.#session(command, command.input);
  }

  /** What a session showed until it ended. */
  result(flags: readonly string[], { code, signal, stdout, stderr }: ControlOutput): ControlResult {
    return {
      command: this.#label(flags.join(' ')),
      code: signal ?? code,
      output: this.#comparable(stdout, flags),
      errors: this.#label(stderr)
        .split('\n')
        .filter(line => line !== '' && !line.startsWith('{'))
        .map(withoutTimes)
        .sort(),
    };
  }

  /** From here on an id the servers chose (in hex) stands as `label` in all outputs, in each of its forms. */
  name(id: string, label: string): void {
    const forms = [...idForms(BigInt(`0x${id}`).toString()), id.padStart(16, '0')];
    this.#labels = [...forms.map(form => [form, label] as const), ...this.#labels];
  }

  #session(command: ControlCommand, input: string | null | undefined): ControlSession {
    const { flags, endpoints = 'leader' } = command;
    const from = endpoints === 'follower' && this.#endpoints.length > 1 ? 1 : 0;
    const chosen = endpoints === 'all' ? this.#endpoints : this.#endpoints.slice(from, from + 1);
    return new ControlSession(this.#control, chosen.join(','), flags, input);
  }

  #comparable(printed: string, flags: readonly string[]): unknown {
    const stdout = flags[1] === 'timetolive' ? withoutTimeLeft(printed) : printed;
    const format = flags.includes('-w') ? flags[flags.indexOf('-w') + 1] : 'simple';
    if (format === 'json' && stdout.startsWith('[')) return sortByText(this.#jsonValue(parseJson(stdout)) as unknown[]);
    if (format === 'json' && stdout.startsWith('{')) {
      // A stream prints one value a line.
      const values = stdout.trimEnd().split('\n');
      return values.length === 1 ? this.#jsonValue(parseJson(stdout)) : values.map(v => this.#jsonValue(parseJson(v)));
    }
    const labelled = this.#label(stdout);
    if (format === 'table') return tableCells(labelled);
    // Answers of several members come in no particular order.
    const many = flags[0] === 'endpoint' || flags[0] === 'member';
    if (format === 'fields') {
      const blocks = labelled.split(/\n\n|\n(?="ID" )/).map(block => block.split('\n').map(withoutVolatileField));
      return many ? sortByText(blocks) : blocks;
    }
    const lines = labelled.split('\n').map(withMembersSorted);
    if (flags[0] === 'endpoint' && flags[1] === 'status') return lines.map(withoutVolatileColumns);
    return many ? lines.map(withoutTimes).sort() : lines;
  }

  /** A parsed JSON value with labels in its strings and kinds in place of volatile numbers. */
  #jsonValue(value: unknown, name = ''): unknown {
    if (Array.isArray(value)) {
      const items = value.map(item => this.#jsonValue(item));
      return name === 'members' ? sortByText(items) : items;
    }
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#jsonValue(item, key)]));
    }
    if (volatileJson.has(name) || (name === 'version' && typeof value === 'string')) return kindOf(name);
    return typeof value === 'string' ? this.#label(value) : value;
  }

  #label(output: string): string {
    let labelled = output;
    for (const [from, to] of this.#labels) {
      labelled = labelled.replaceAll(new RegExp(`(?<![\\w.])${from.replaceAll('.', '\\.')}(?![\\w.])`, 'g'), to);
    }
    // An id that begins with a zero is padded with a blank (%16x): one in sixteen, on either side.
    return labelled.replaceAll(/\b(Member|cluster) {2,}/g, '$1 ').replaceAll(/127\.0\.0\.1:\d+/g, 'PEER');
  }
}

interface StatusJson {
  readonly header: { readonly cluster_id: string; readonly member_id: string };
  readonly leader: string;
}

const volatileJson = new Set([
  'raft_term',
  'raftTerm',
  'raftIndex',
  'raftAppliedIndex',
  'dbSize',
  'dbSizeInUse',
  'took',
]);
const volatileFields = /^("(?:RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|Took)") : .*$/;
const versionField = /^"Version" : "?\d+\.\d+\.\d+"?$/;
const volatileHeads = new Set(['VERSION', 'DB SIZE', 'RAFT TERM', 'RAFT INDEX', 'RAFT APPLIED INDEX', 'TOOK']);
/** Positions of version, size, term and indexes in `endpoint status`. */
const volatileColumns = new Set([2, 3, 6, 7, 8]);

function runControl(control: string, endpoints: string, flags: readonly string[]): Promise<ControlOutput> {
  return new ControlSession(control, endpoints, flags, null).ended();
}

/** JSON as etcdctl writes it: 64-bit integers are numbers there, of which the large ones would lose digits. */
/** Ids as text: few are so small that they have less than thirteen digits, and nothing else is so large. */
function parseJson(output: string): unknown {
  return JSON.parse(output.replaceAll(/:(\d{13,})\b/g, ':"$1"'));
}

function leads(status: StatusJson): boolean {
  return status.header.member_id === status.leader;
}

function idForms(decimal: string): string[] {
  return [decimal, BigInt(decimal).toString(16)];
}

function kindOf(name: string): string {
  return `<${name}>`;
}

function sortByText(items: unknown[]): unknown[] {
  return items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

function withoutTimes(line: string): string {
  return line.replace(/took = [\d.]+(?:µs|ms|s)/, 'took = <time>');
}

/** What `lease timetolive` prints without the seconds left; the keys come in no particular order. */
function withoutTimeLeft(printed: string): string {
  return printed
    .replace(/remaining\(\d+s\)/, 'remaining(<time>)')
    .replace(/"ttl":\d+/, '"ttl":"<time>"')
    .replace(/"TTL" : \d+/, '"TTL" : <time>')
    .replace(/attached keys\(\[(.*)\]\)/, (_, keys: string) => `attached keys([${keys.split(' ').sort().join(' ')}])`)
    .replace(/"keys":(\[.*?\])/, (_, keys: string) => `"keys":${JSON.stringify((JSON.parse(keys) as string[]).sort())}`)
    .replace(/(?:"Key" : .*\n)+/, keys => keys.split('\n').sort().join('\n'));
}

function withoutVolatileField(line: string): string {
  return versionField.test(line) ? '"Version" : <version>' : line.replace(volatileFields, '$1 : <volatile>');
}

function withoutVolatileColumns(line: string): string {
  const cells = line.split(', ');
  return cells
    .map((cell, column) => (cells.length > 5 && volatileColumns.has(column) ? '<volatile>' : cell))
    .join(', ');
}

/** What `member add` says of the members, whose order is that of their ids. */
function withMembersSorted(line: string): string {
  const [name, members] = line.split('="');
  if (name !== 'ETCD_INITIAL_CLUSTER' || members === undefined) return line;
  return `${name}="${members.slice(0, -1).split(',').sort().join(',')}"`;
}

/** The rows of a table as objects, by column head; the two ways to draw lines make no difference. */
function tableCells(output: string): unknown {
  const rows = output
    .split('\n')
    .filter(line => /^[|│]/.test(line))
    .map(line =>
      line
        .slice(1, -1)
        .split(/[|│]/)
        .map(cell => cell.trim()),
    );
  const [heads = [], ...cells] = rows;
  const objects = cells.map(row =>
    Object.fromEntries(heads.map((head, i) => [head, volatileHeads.has(head) ? kindOf(head) : row[i]])),
  );
  return { heads, rows: sortByText(objects) };
}
