/**
 * Logs: the main thread has the only pino; members send small records through their rings and never format.
 *
 *     a member's record (ring) --,
 *     the host's own ------------+--> pino: level, ts, msg, fields under etcd's names --> each target, json or console
 *
 * A target that does not take what it is given costs memory up to a bound and then records, which are counted and said;
 * it never holds up the main thread, let alone a member.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import pino, { type Logger } from 'pino';
import { EMPTY_BYTES } from '../base/bytes.js';
import { StartError } from './data-directory.js';
import type { LogFormat, LogLevel } from './options.js';

export interface LogSettings {
  readonly level: LogLevel;
  /** Undefined: console for terminals, json for everything else. */
  readonly format: LogFormat | undefined;
  /** `default` (stderr), `stderr`, `stdout` or paths of files, which are appended to. */
  readonly outputs: readonly string[];
}

/** A member's record: level and message, then whatever fields it has. */
export interface MemberRecord {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Log {
  readonly logger: Logger;
  /** Writes out what it can and closes the files. What is logged later is lost. */
  close(): void;
}

/** What waits for a slow target; later records are dropped. */
const waitingBytesMax = 4 * 1024 * 1024;

/** Throws StartError when an output cannot be opened. */
export function openLog({ level, format, outputs }: LogSettings): Log {
  if (outputs.length > 1 && outputs.includes('default')) {
    throw new StartError('multi logoutput for "default" is not supported yet; name stderr instead');
  }
  const targets: Target[] = [];
  try {
    for (const output of outputs) targets.push(new Target(output, format));
  } catch (error) {
    for (const target of targets) target.close();
    throw error;
  }
  const write = (line: string): void => {
    for (const target of targets) target.write(line);
  };
  const close = (): void => {
    for (const target of targets) target.close();
  };
  return { logger: pino({ ...shape, level: pinoLevel(level) }, { write }), close };
}

/** Writes a record that came from a member's ring. */
export function logMemberRecord(logger: Logger, payload: Uint8Array): void {
  const { level, msg, ...fields } = JSON.parse(Buffer.from(payload).toString('utf8')) as MemberRecord;
  logger[level](fields, msg);
}

/** etcd's keys: `level` by name, `ts`, `msg`, `error` and `stacktrace`. */
const shape: pino.LoggerOptions = {
  base: null,
  timestamp: () => `,"ts":"${new Date().toISOString()}"`,
  formatters: {
    level: label => ({ level: label }),
    log: ({ err, ...fields }) =>
      err instanceof Error ? { ...fields, error: err.message, stacktrace: err.stack } : fields,
  },
};

/** etcd knows a level `panic`, pino does not: what would panic there is fatal here. */
function pinoLevel(level: LogLevel): pino.LevelWithSilent {
  return level === 'panic' ? 'fatal' : level;
}

/**
 * Where lines go. Each is written at once, so that no crash of the process loses it; what a pipe or terminal has no room
 * for waits. (pino's own destination writes in Node's pool, loses what has not begun there, and goes round for ever at
 * exit when the disk is full.)
 */
class Target {
  readonly #fd: number;
  readonly #isOwn: boolean;
  readonly #format: (line: string) => string;
  /** Begun, but not written to its end. */
  #begun: Uint8Array = EMPTY_BYTES;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #again: NodeJS.Timeout | undefined;
  #dropped = 0;

  constructor(output: string, format: LogFormat | undefined) {
    const standard = standardOutputs[output];
    this.#fd = standard === undefined ? openFile(output) : withoutWaiting(standard);
    this.#isOwn = this.#fd !== standard;
    const isTerminal = isatty(this.#fd);
    this.#format = (format ?? (isTerminal ? 'console' : 'json')) === 'json' ? asItIs : consoleFormat(isTerminal);
    if (open.size === 0) process.once('exit', writeOutAll);
    open.add(this);
  }

  write(line: string): void {
    if (this.#waitingBytes > waitingBytesMax) {
      this.#dropped += 1;
      return;
    }
    const text = this.#format(line);
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    if (this.#again === undefined) this.#write();
  }

  /** Waits for room as long as there is some now and then. */
  writeOut(): void {
    let left = Number.POSITIVE_INFINITY;
    for (let idleMs = 0; idleMs < patienceMs && !this.#write(); idleMs += againMs) {
      const leftNow = this.#begun.length + this.#waitingBytes;
      if (leftNow < left) idleMs = 0;
      left = leftNow;
      Atomics.wait(bell, 0, 0, againMs);
    }
    clearTimeout(this.#again);
  }

  close(): void {
    this.writeOut();
    open.delete(this);
    if (open.size === 0) process.off('exit', writeOutAll);
    if (this.#isOwn) closeSync(this.#fd);
  }

  /** Writes what there is room for; false: the rest is tried again soon. */
  #write(): boolean {
    this.#again = undefined;
    let records = 0;
    try {
      while (this.#begun.length > 0 || this.#waiting.length > 0) {
        if (this.#begun.length === 0) {
          records = this.#waiting.length;
          this.#begun = this.#take();
        }
        this.#begun = this.#begun.subarray(writeSync(this.#fd, this.#begun));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
        this.#again = setTimeout(() => this.#write(), againMs).unref();
        return false;
      }
      this.#begun = EMPTY_BYTES;
      this.#dropped += records;
    }
    return true;
  }

  /** All that waits, and how many records were dropped since the last time. */
  #take(): Uint8Array {
    if (this.#dropped > 0) {
      const notice = { level: 'warn', ts: new Date(), msg: 'log records were dropped', dropped: this.#dropped };
      this.#waiting.push(this.#format(`${JSON.stringify(notice)}\n`));
    }
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#dropped = 0;
    return Buffer.from(text);
  }
}

const againMs = 20;
/** How long the end of the process waits for a reader that takes nothing. */
const patienceMs = 3_000;
const bell = new Int32Array(new SharedArrayBuffer(4));

/** Targets that still write. */
const open = new Set<Target>();

function writeOutAll(): void {
  for (const target of open) target.writeOut();
}

/**
 * A pipe or terminal of ours, opened anew so that a write never waits: the flag belongs to the opening, and the one we
 * were given is shared with other processes. Files need it not; a socket (systemd's, or a Node parent's) cannot be opened:
 * writing to it waits for its reader, as etcd's does.
 */
function withoutWaiting(fd: number): number {
  if (fstatSync(fd).isFile()) return fd;
  try {
    const { O_WRONLY, O_APPEND, O_NONBLOCK, O_NOCTTY } = constants;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
  } catch {
    return fd;
  }
}

const standardOutputs: Readonly<Record<string, number>> = { default: 2, stderr: 2, stdout: 1 };

function openFile(path: string): number {
  if (path === 'systemd/journal') {
    throw new StartError('--log-outputs systemd/journal is not supported; journald keeps what goes to stderr');
  }
  try {
    return openSync(path, 'a');
  } catch (error) {
    throw new StartError(`cannot open the log output ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function asItIs(line: string): string {
  return line;
}

/** pino-pretty, loaded when asked for. */
function consoleFormat(colorize: boolean): (line: string) => string {
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  const format = pretty.prettyFactory({
    colorize,
    timestampKey: 'ts',
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  });
  return line => format(line) ?? line;
}
