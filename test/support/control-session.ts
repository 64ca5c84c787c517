/**
 * One running etcdctl: what it prints is awaited, what it reads is written, what ends it is sent.
 *
 * A command that streams (watch, lock, elect, keep-alive) ends when somebody ends it. Nothing here waits for a time:
 * `shows` resolves at the output it was asked for and rejects, with all that was printed, when the command ends first
 * or says nothing for too long. Sessions that are still running when this process ends are killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { environmentWithout } from './server-process.js';

export interface ControlOutput {
  readonly code: number | null;
  /** The signal that ended the command, null when it ended by itself. */
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const silenceMaxMs = 20_000;

const living = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

export class ControlSession {
  readonly flags: readonly string[];
  readonly #child: ChildProcess;
  readonly #ended: Promise<ControlOutput>;
  #stdout = '';
  #stderr = '';
  /** Both outputs in the order they came, for `shows`. */
  #shown = '';
  /** Up to here `shows` has matched. */
  #position = 0;
  #over = false;
  #changed: () => void = () => {};

  /** Starts `control` with the endpoints and flags; without `input` its standard input stays open for `write`. */
  constructor(control: string, endpoints: string, flags: readonly string[], input?: string | null) {
    this.flags = flags;
    this.#child = spawn(control, [`--endpoints=${endpoints}`, ...flags], {
      env: { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' },
      stdio: [input === null ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    living.add(this.#child);
    this.#child.stdin?.on('error', () => {}); // A command that fails early does not read its input.
    if (typeof input === 'string') this.#child.stdin?.end(input);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#grow(text);
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#grow(text);
    });
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        living.delete(this.#child);
        this.#over = true;
        this.#changed();
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
    this.#ended.catch(() => {}); // Who waits for the end hears of it.
  }

  /** Resolves when the output beyond the last match holds `pattern`. */
  async shows(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#shown.slice(this.#position));
      if (match !== null) {
        this.#position += match.index + match[0].length;
        return match;
      }
      if (this.#over) throw new Error(`${this.#title()} ended without ${pattern}:\n${this.#shown}`);
      await new Promise<void>((resolve, reject) => {
        const silent = () => reject(new Error(`${this.#title()} does not show ${pattern}:\n${this.#shown}`));
        const timer = setTimeout(silent, silenceMaxMs);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Whether the command has printed anything yet. */
  get silent(): boolean {
    return this.#shown === '';
  }

  /** Writes to the command's standard input. */
  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Ends the command's standard input. */
  closeInput(): void {
    this.#child.stdin?.end();
  }

  /** Sends a signal and resolves when the command has ended. */
  async end(signal: NodeJS.Signals = 'SIGINT'): Promise<ControlOutput> {
    if (!this.#over) this.#child.kill(signal);
    return this.ended();
  }

  /** Resolves when the command has ended by itself; kills it and rejects when it takes too long. */
  async ended(): Promise<ControlOutput> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#child.kill('SIGKILL');
    }, silenceMaxMs);
    const output = await this.#ended;
    clearTimeout(timer);
    if (late) throw new Error(`${this.#title()} does not end:\n${this.#shown}`);
    return output;
  }

  #grow(text: string): void {
    this.#shown += text;
    this.#changed();
  }

  #title(): string {
    return `etcdctl ${this.flags.join(' ')}`;
  }
}
