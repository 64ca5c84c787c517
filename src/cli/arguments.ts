/**
 * What the verbs beside `start` share: their arguments and where they print.
 */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { StartError } from '../host/data-directory.js';

/** Standard output and standard error. */
export interface Printer {
  out(text: string): void;
  error(text: string): void;
}

/** Where a cluster is looked for that nobody named: etcd's own development ports. */
export const defaultEndpoints = '127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379';

/** Reads a verb's flags and positionals; throws StartError with one line. */
export function readArgs<Options extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: Options,
): ReturnType<typeof parseArgs<{ args: string[]; options: Options; allowPositionals: true }>> {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new StartError((error as Error).message.split(/\.\s/)[0] as string);
  }
}

/** The one file a verb takes; throws StartError. */
export function oneFile(verb: string, positionals: readonly string[]): string {
  const [file, ...others] = positionals;
  if (file === undefined || others.length > 0) throw new StartError(`snapshot ${verb} takes one file`);
  return file;
}

/** Says how far long work is, on one line, at most once a second and not before it has taken as long. */
export class ProgressLine {
  readonly #print: Printer;
  readonly #what: string;
  #toldMs = performance.now();

  constructor(print: Printer, what: string) {
    this.#print = print;
    this.#what = what;
  }

  tell(doneBytes: number, totalBytes: number): void {
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < 1_000) return;
    this.#toldMs = nowMs;
    const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((100 * doneBytes) / totalBytes));
    this.#print.error(`${this.#what}: ${percent} % of ${megabytes(totalBytes)}\n`);
  }
}

/** `12.3 MB` */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
