/**
 * `kvorum snapshot check|status FILE`: what is in a snapshot file, of kvorum or of etcd, and whether it is whole.
 *
 *   check    every page, every record, the digest; one line for each problem and exit code 1, or one line that all is well
 *   status   hash, revision, keys and size as etcdctl prints them; -w simple, json, fields, table
 */
import { parseArgs } from 'node:util';
import { StartError } from '../host/data-directory.js';
import { BboltError } from '../snapshot/bbolt/format.js';
import { checkSnapshot } from '../snapshot/check.js';
import { SnapshotFile } from '../snapshot/file.js';
import { SnapshotError } from '../snapshot/schema.js';
import { formatStatus, type StatusFormat, snapshotStatus, statusFormats } from '../snapshot/status.js';

const usage = [
  'usage: kvorum snapshot check FILE',
  '       kvorum snapshot status FILE [-w simple|json|fields|table]',
  '',
].join('\n');

interface Printer {
  out(text: string): void;
  error(text: string): void;
}

/** Runs a verb; returns the exit code. Throws StartError for a wrong command line and for a file that cannot be read. */
export function snapshotCommand(args: readonly string[], print: Printer): number {
  const { verb, file, format, help } = readArguments(args);
  if (help) {
    print.out(usage);
    return 0;
  }
  try {
    return verb === 'check' ? check(file, print) : status(file, format, print);
  } catch (error) {
    if (error instanceof SnapshotError) throw new StartError(error.message);
    if (error instanceof BboltError) throw new StartError(`${file}: ${error.message}`);
    throw error;
  }
}

interface Arguments {
  readonly verb: 'check' | 'status';
  readonly file: string;
  readonly format: StatusFormat;
  readonly help: boolean;
}

function readArguments(args: readonly string[]): Arguments {
  const { values, positionals } = parsed(args);
  const help = values.help === true;
  const [verb, file, ...others] = positionals;
  if (help) return { verb: 'check', file: '', format: 'simple', help };
  if (verb !== 'check' && verb !== 'status') {
    throw new StartError(
      `unknown command snapshot ${verb ?? ''}; there are snapshot check FILE and snapshot status FILE`,
    );
  }
  if (file === undefined || others.length > 0) throw new StartError(`snapshot ${verb} takes one file`);
  const wanted = values['write-out'] ?? 'simple';
  const format = statusFormats.find(name => name === wanted);
  if (format === undefined) {
    throw new StartError(`${wanted} is no output format of snapshot status; there are ${statusFormats.join(', ')}`);
  }
  return { verb, file, format, help };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { 'write-out': { type: 'string', short: 'w' }, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
  } catch (error) {
    throw new StartError((error as Error).message.split('. ')[0] as string);
  }
}

function check(path: string, print: Printer): number {
  const file = SnapshotFile.open(path);
  try {
    const { problems, pages, records, revision } = checkSnapshot(file);
    const lines = [...problems];
    try {
      file.verifyDigest();
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      lines.push(error.message);
    }
    for (const line of lines) print.error(`${path}: ${line}\n`);
    if (lines.length > 0) return 1;
    const digest = file.hasDigest ? 'digest verified' : 'without a digest';
    print.out(`${path}: whole; revision ${revision}, ${records} records, ${pages} pages, ${digest}\n`);
    return 0;
  } finally {
    file.close();
  }
}

function status(path: string, format: StatusFormat, print: Printer): number {
  const file = SnapshotFile.open(path);
  try {
    print.out(formatStatus(snapshotStatus(file), format));
    return 0;
  } finally {
    file.close();
  }
}
