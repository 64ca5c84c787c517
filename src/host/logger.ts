/**
 * Logs: the main thread has the only pino; members send small records through their rings and never format.
 *
 *     a member's record (ring) --,
 *     the host's own ------------+--> pino: level, ts, msg, fields under etcd's names --> each target, json or console
 *
 * A target that does not take what it is given costs memory up to a bound and then records, which are counted and said;
 * it never holds up the main thread, let alone a member. A regular file is written at once, so a crash of the process
 * loses nothing of it; what is still on its way to a pipe or terminal is written out when the process ends.
 */
import { closeSync, fstatSync, openSync, write, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import pino, { type Logger } from 'pino';
import { StartError } from './data-directory.js';

export const logLevels = ['debug', 'info', 'warn', 'error', 'panic', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** `json`: a line a record, as etcd's; `console`: for people. */
export const logFormats = ['json', 'console'] as const;
export type LogFormat = (typeof logFormats)[number];

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
 * Where lines go: a regular file at once; anything else one write at a time, in a thread of Node's pool, the lines that
 * come meanwhile waiting. (pino's own destination goes round for ever at exit when the disk is full.)
 */
class Target {
  readonly #fd: number;
  readonly #isOwn: boolean;
  readonly #isFile: boolean;
  readonly #format: (line: string) => string;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #writing = false;
  #dropped = 0;

  constructor(output: string, format: LogFormat | undefined) {
    this.#isOwn = !(output in standardOutputs);
    this.#fd = standardOutputs[output] ?? openFile(output);
    this.#isFile = fstatSync(this.#fd).isFile();
    const isTerminal = isatty(this.#fd);
    this.#format = (format ?? (isTerminal ? 'console' : 'json')) === 'json' ? asItIs : consoleFormat(isTerminal);
    if (open.size === 0) process.once('exit', writeOut);
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
    if (this.#isFile) this.writeOut();
    else if (!this.#writing) this.#next();
  }

  /** Writes what waits, now; what the target refuses is dropped. */
  writeOut(): void {
    const { text, records } = this.#take();
    try {
      writeFileSync(this.#fd, text);
    } catch {
      this.#dropped += records;
    }
  }

  close(): void {
    this.writeOut();
    open.delete(this);
    if (open.size === 0) process.off('exit', writeOut);
    if (this.#isOwn) closeSync(this.#fd);
  }

  #next(): void {
    const { text, records } = this.#take();
    const bytes = Buffer.from(text);
    this.#writing = true;
    const go = (offset: number): void => {
      write(this.#fd, bytes, offset, (error, written) => {
        // A pipe that another process has made non-blocking is full: later.
        if (error?.code === 'EAGAIN') setTimeout(go, againMs, offset);
        else if (error === null && offset + written < bytes.length) go(offset + written);
        else this.#written(error === null ? 0 : records);
      });
    };
    go(0);
  }

  #written(lost: number): void {
    this.#writing = false;
    this.#dropped += lost;
    if (this.#waiting.length > 0) this.#next();
  }

  /** All that waits, and how many records were dropped since the last time. */
  #take(): { readonly text: string; readonly records: number } {
    const records = this.#waiting.length + this.#dropped;
    if (this.#dropped > 0) {
      const notice = { level: 'warn', ts: new Date(), msg: 'log records were dropped', dropped: this.#dropped };
      this.#waiting.push(this.#format(`${JSON.stringify(notice)}\n`));
    }
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#dropped = 0;
    return { text, records };
  }
}

const againMs = 50;

/** Targets that still write. */
const open = new Set<Target>();

function writeOut(): void {
  for (const target of open) target.writeOut();
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
