/**
 * Scenarios of etcdctl commands that run beside one another, played on several clusters and compared.
 *
 * A scenario is played on every cluster at once, command for command the same. What it records has to be what was
 * recorded on the first cluster, the reference.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { ControlOutput, ControlSession } from './control-session.js';
import type { Family } from './differential.js';
import { type EtcdVersion, requireEtcd } from './etcd.js';
import { type ControlCommand, ControlledCluster, type ControlResult } from './etcdctl.js';
import { type SubjectOptions, startSubjects } from './subject.js';

type FurtherOptions = Partial<Pick<SubjectOptions, 'members' | 'flags' | 'kvorumFlags'>>;

export type Scenario = (stage: Stage) => Promise<void>;

/** Where one scenario runs: starts commands on its cluster and records what they show. */
export class Stage {
  readonly results: ControlResult[] = [];
  readonly #cluster: ControlledCluster;
  readonly #sessions: ControlSession[] = [];

  constructor(cluster: ControlledCluster) {
    this.#cluster = cluster;
  }

  /** Runs a command to its end and records it. */
  run(...flags: string[]): Promise<ControlOutput> {
    return this.command({ flags });
  }

  async command(command: ControlCommand): Promise<ControlOutput> {
    const output = await this.quiet(command);
    this.#record(command.flags, output);
    return output;
  }

  /** Runs a command whose output names the lease it granted; the lease stands as `label` from here on. */
  async runNaming(label: string, pattern: RegExp, ...flags: string[]): Promise<string> {
    const output = await this.quiet({ flags });
    const id = pattern.exec(output.stdout)?.[1] ?? '';
    assert.notEqual(id, '', `etcdctl ${flags.join(' ')} names a lease:\n${output.stdout}${output.stderr}`);
    const hex = /^\d{17,}$/.test(id) ? BigInt(id).toString(16) : id;
    this.name(hex, label);
    this.#record(flags, output);
    return hex;
  }

  /** Runs a command again and again until it succeeds, and records that. Answers with what the pattern found. */
  async runUntilDone(pattern: RegExp, label: string, ...flags: string[]): Promise<string> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const output = await this.quiet({ flags });
      const id = output.code === 0 ? pattern.exec(output.stdout)?.[1] : undefined;
      if (id !== undefined) {
        this.name(id, label);
        this.#record(flags, output);
        return id;
      }
      assert.ok(performance.now() < deadline, `etcdctl ${flags.join(' ')}:\n${output.stdout}${output.stderr}`);
    }
  }

  /** Runs a command without recording it. */
  quiet(command: ControlCommand): Promise<ControlOutput> {
    return this.#cluster.open({ input: '', ...command }).ended();
  }

  /** Starts a command on the leader that goes on. */
  open(...flags: string[]): ControlSession {
    return this.#opened(this.#cluster.open({ flags }));
  }

  /** Starts a command on another member that goes on. */
  openOnFollower(...flags: string[]): ControlSession {
    return this.#opened(this.#cluster.open({ flags, endpoints: 'follower' }));
  }

  /** Kills what a scenario that failed left running. */
  async close(): Promise<void> {
    await Promise.all(this.#sessions.map(session => session.end('SIGKILL')));
  }

  /** Ends a session by a signal and records what it showed. */
  async end(session: ControlSession, signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    this.#record(session.flags, await session.end(signal));
  }

  /** Waits until a session has ended by itself and records what it showed; of repeated lines one counts. */
  async ended(session: ControlSession): Promise<void> {
    const output = await session.ended();
    this.#record(session.flags, { ...output, stdout: withoutRepeats(output.stdout) });
  }

  /** See ControlledCluster.name. */
  name(id: string, label: string): void {
    this.#cluster.name(id, label);
  }

  /** The store's revision. */
  async revision(): Promise<number> {
    const { stdout, stderr } = await this.quiet({ flags: ['get', 'no/such/key', '-w', 'json'] });
    const revision = /"revision":(\d+)/.exec(stdout)?.[1];
    assert.ok(revision !== undefined, `${stdout}${stderr}`);
    return Number(revision);
  }

  /** Asks again and again until so many keys have the prefix. */
  async keysBelow(prefix: string, count: number): Promise<void> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const { stdout } = await this.quiet({ flags: ['get', prefix, '--prefix', '--keys-only'] });
      const found = stdout.split('\n').filter(line => line !== '').length;
      if (found === count) return;
      assert.ok(performance.now() < deadline, `${found} keys below ${prefix} instead of ${count}`);
    }
  }

  #opened(session: ControlSession): ControlSession {
    this.#sessions.push(session);
    return session;
  }

  #record(flags: readonly string[], output: ControlOutput): void {
    this.results.push(this.#cluster.result(flags, output));
  }
}

/** Plays the scenarios with both releases of etcdctl, side by side: most of the time they wait for leases to end. */
export async function compareReleases(
  t: TestContext,
  families: readonly Family[],
  scenarios: Readonly<Record<string, Scenario>>,
  options: FurtherOptions = {},
): Promise<void> {
  for (const peer of ['3.4', '3.5'] as const) if ((await requireEtcd(t, peer)) === undefined) return;
  await Promise.all(
    (['3.4', '3.5'] as const).map(release => compareScenarios(t, release, families, scenarios, options)),
  );
}

/** Plays the scenarios, one after the other, on all families at once; fails with every difference. */
async function compareScenarios(
  t: TestContext,
  release: EtcdVersion,
  families: readonly Family[],
  scenarios: Readonly<Record<string, Scenario>>,
  options: FurtherOptions,
): Promise<void> {
  const binaries = await requireEtcd(t, release);
  if (binaries === undefined) return;
  const subjects = await startSubjects(families, { members: 3, ...options });
  try {
    const clusters = await Promise.all(subjects.map(subject => ControlledCluster.of(subject, binaries.control)));
    const differing: string[] = [];
    for (const [title, scenario] of Object.entries(scenarios)) {
      const stages = clusters.map(cluster => new Stage(cluster));
      const played = await Promise.allSettled(stages.map(stage => scenario(stage)));
      await Promise.all(stages.map(stage => stage.close()));
      for (const [i, family] of families.entries()) {
        const outcome = played[i]!;
        const where = `etcdctl ${release}, ${title}, ${family}`;
        if (outcome.status === 'rejected') differing.push(`${where}: ${outcome.reason}`);
        const differences = differencesOf(stages[0]!.results, stages[i]!.results);
        differing.push(...differences.map(text => `${where} and ${families[0]}:\n${text}`));
      }
      if (differing.length > 0) assert.fail(differing.join('\n\n'));
    }
  } finally {
    await Promise.all(subjects.map(subject => subject.stop()));
  }
}

/** Every command whose result differs, with both. */
function differencesOf(expected: readonly ControlResult[], actual: readonly ControlResult[]): string[] {
  return expected.flatMap((one, i) => {
    try {
      assert.deepEqual(actual[i], one);
      return [];
    } catch (error) {
      return error instanceof Error ? [`etcdctl ${one.command}\n${error.message}`] : [];
    }
  });
}

function withoutRepeats(text: string): string {
  const lines = text.split('\n');
  return lines.filter((line, i) => line === '' || line !== lines[i - 1]).join('\n');
}
