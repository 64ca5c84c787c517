/**
 * `kvorum snapshot save|status|check|restore FILE`: snapshot files, of kvorum or of etcd.
 *
 *   save     a running server's, of kvorum or of etcd (snapshot-save.ts)
 *   restore  a new cluster's data directory (snapshot-restore.ts)
 *   check    every page, every record, the digest; one line for each problem and exit code 1, or one line that all is well
 *   status   hash, revision, keys and size as etcdctl prints them; -w simple, json, fields, table
 */
import { StartError } from '../host/data-directory.js';
import { BboltError } from '../snapshot/bbolt/format.js';
import { checkSnapshot } from '../snapshot/check.js';
import { SnapshotFile } from '../snapshot/file.js';
import { SnapshotError } from '../snapshot/schema.js';
import { formatStatus, type StatusFormat, snapshotStatus, statusFormats } from '../snapshot/status.js';
import { type Printer, readArgs } from './arguments.js';
import { restoreCommand, restoreUsage } from './snapshot-restore.js';
import { saveCommand, saveUsage } from './snapshot-save.js';

const usage = [
  'usage: kvorum snapshot check FILE',
  '       kvorum snapshot status FILE [-w simple|json|fields|table]',
  ...saveUsage,
  ...restoreUsage,
  '',
].join('\n');

/** Runs a verb; the exit code. Rejects with StartError for a wrong command line and for what cannot be done. */
export async function snapshotCommand(args: readonly string[], print: Printer): Promise<number> {
  const asksForHelp = args.includes('--help') || args.includes('-h');
  if (args[0] === 'save' && !asksForHelp) return await saveCommand(args.slice(1), print);
  if (args[0] === 'restore' && !asksForHelp) return await restoreCommand(args.slice(1), print);
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
      `unknown command snapshot ${verb ?? ''}; there are snapshot save, status, check and restore FILE`,
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
  return readArgs(args, { 'write-out': { type: 'string', short: 'w' }, help: { type: 'boolean', short: 'h' } });
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
