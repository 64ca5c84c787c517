/**
 * `kvorum snapshot save FILE`: the snapshot of a running server, kvorum or etcd, as a file that is whole or not there.
 */
import { EtcdError } from '../client/client.js';
import { type ConnectOptions, connect } from '../client/connect.js';
import { StartError } from '../host/data-directory.js';
import { NewFile, SnapshotFile } from '../snapshot/file.js';
import { SnapshotError } from '../snapshot/schema.js';
import { megabytes, oneFile, type Printer, ProgressLine, readArgs } from './arguments.js';
import { askAtTerminal, credentialOptions, credentialsUsage, readCredentials } from './credentials.js';
import { tlsFlags, tlsOptionsOf, tlsUsage } from './tls.js';

export const saveUsage = [
  `       kvorum snapshot save FILE [--endpoints HOST:PORT] ${tlsUsage}`,
  `                                 ${credentialsUsage}`,
];

const endpointDefault = '127.0.0.1:2379';

const options = {
  endpoints: { type: 'string', default: endpointDefault },
  ...tlsFlags,
  ...credentialOptions,
} as const;

/** Runs the verb; the exit code. */
export async function saveCommand(args: readonly string[], print: Printer): Promise<number> {
  const { values, positionals } = readArgs(args, options);
  const path = oneFile('save', positionals);
  const endpoints = values.endpoints.split(',');
  if (endpoints.length !== 1) {
    throw new StartError(
      `snapshot must be requested to one selected node, not multiple [${endpoints.join(' ')}]; name one with --endpoints`,
    );
  }
  const tls = tlsOptionsOf(values, process.env);
  const server: ConnectOptions = {
    endpoints,
    ...(tls === undefined ? {} : { tls }),
    ...(await readCredentials(values, process.env, askAtTerminal())),
  };
  const version = await download(path, server, print);
  print.out(`Snapshot saved at ${path}\n${version === '' ? '' : `Server version ${version}\n`}`);
  return 0;
}

/** The version the server says the file is of. */
async function download(path: string, server: ConnectOptions, print: Printer): Promise<string> {
  const file = newFile(path);
  try {
    const client = connect(server);
    let version = '';
    let position = 0;
    const progress = new ProgressLine(print, `saving ${path}`);
    try {
      for await (const piece of client.snapshot()) {
        file.write(piece.bytes, position);
        position += piece.bytes.length;
        version = piece.version;
        progress.tell(position, position + piece.remainingBytes);
      }
    } finally {
      client.close();
    }
    checkWhole(file.partPath);
    file.keep();
    return version;
  } catch (error) {
    file.abandon();
    const isExpected = error instanceof EtcdError || error instanceof SnapshotError || error instanceof TypeError;
    if (isExpected || isSystemError(error)) throw new StartError(`cannot save ${path}: ${(error as Error).message}`);
    throw error;
  }
}

/** A stream that ended early, or was changed on its way, is no snapshot. */
function checkWhole(path: string): void {
  const file = SnapshotFile.open(path);
  try {
    if (!file.verifyDigest()) throw new SnapshotError(`what the server sent (${megabytes(file.length)}) has no digest`);
  } finally {
    file.close();
  }
}

function newFile(path: string): NewFile {
  try {
    return new NewFile(path);
  } catch (error) {
    throw new StartError(`cannot write ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function isSystemError(error: unknown): boolean {
  return typeof (error as NodeJS.ErrnoException).syscall === 'string';
}
