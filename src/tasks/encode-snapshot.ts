/**
 * A member's state, frame by frame, becomes a snapshot file as etcd writes them.
 *
 * Each frame is answered before the next is looked at, so that no more of them wait here than the member was given
 * credit for. The file is complete when the task resolves; whoever opened it gives it a name or throws it away.
 */
import { fdatasyncSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { visitTuple } from '../member/transfer/content.js';
import { TupleStream } from '../member/transfer/tuples.js';
import { checkSnapshot } from '../snapshot/check.js';
import { DIGEST_BYTES, NewFile, SnapshotFile, SnapshotFileWriter } from '../snapshot/file.js';
import { ToEtcd } from '../snapshot/to-etcd.js';
import {
  decodeStateHead,
  type EncodedSnapshot,
  type EncodeFeed,
  type EncodeTask,
  type TaskOutcome,
} from '../transport/tasks.js';
import { messageOf } from './problems.js';

/** Resolves at the feed's end. The disk's and the state's failures are problems. */
export async function encodeSnapshot({ target, port }: EncodeTask): Promise<TaskOutcome<EncodedSnapshot>> {
  let file: NewFile | undefined;
  try {
    if ('path' in target) file = new NewFile(target.path);
    const encoded = await encode(file?.descriptor ?? (target as { descriptor: number }).descriptor, port);
    if (encoded === undefined) return { problem: 'given up' };
    if (file !== undefined) {
      fdatasyncSync(file.descriptor);
      const problem = problemOf(file.partPath);
      if (problem !== undefined) return { problem: `the file that was written is not whole: ${problem}` };
      file.keep();
      file = undefined;
    }
    return { value: encoded };
  } catch (error) {
    const problem = messageOf(error);
    return { problem: 'path' in target ? `cannot write ${target.path}: ${problem}` : problem };
  } finally {
    file?.abandon();
    port.close();
  }
}

/** Undefined: given up. */
async function encode(descriptor: number, port: MessagePort): Promise<EncodedSnapshot | undefined> {
  const file = new SnapshotFileWriter(descriptor);
  let content: Content | undefined;
  const stream = new TupleStream((key, value) => visitTuple(key, value, content as Content));
  const take = (bytes: Uint8Array): void => {
    if (content !== undefined) stream.write(bytes);
    else content = new Content(new ToEtcd(file.writer, decodeStateHead(bytes)));
  };
  if (!(await fed(port, take)) || content === undefined) return undefined;
  stream.finish();
  content.finish();
  const { records, revision } = content;
  const encoded = { bytes: file.finish() + DIGEST_BYTES, records, revision };
  port.postMessage(encoded satisfies EncodedSnapshot);
  file.appendDigest();
  return encoded;
}

/** What is wrong with the file as it is on the disk; undefined: nothing. */
function problemOf(path: string): string | undefined {
  const file = SnapshotFile.open(path);
  try {
    const { problems } = checkSnapshot(file);
    if (problems.length === 0) file.verifyDigest();
    return problems[0];
  } finally {
    file.close();
  }
}

/** The converter wants to own what it keeps; tuples are views of frames that are gone by then. */
class Content {
  records = 0;
  revision = 0;
  readonly #converter: ToEtcd;

  constructor(converter: ToEtcd) {
    this.#converter = converter;
  }

  readonly entry: ToEtcd['small'] = (table, key, value) => this.#converter.small(table, key.slice(), value.slice());

  record(main: number, sub: number, tombstone: boolean, value: Uint8Array): void {
    this.records += 1;
    this.revision = main;
    this.#converter.record(main, sub, tombstone, value);
  }

  finish(): void {
    this.#converter.finish();
  }
}

/** Takes what comes, until the end; false: it was given up. */
function fed(port: MessagePort, take: (frame: Uint8Array) => void): Promise<boolean> {
  return new Promise((resolve, reject) => {
    port.on('message', (feed: EncodeFeed) => {
      if (feed === 'end' || feed === 'abort') return resolve(feed === 'end');
      try {
        take(feed);
        port.postMessage(feed.length);
      } catch (error) {
        reject(error as Error);
      }
    });
    port.on('close', () => resolve(false));
    port.postMessage(0);
  });
}
