/**
 * Everything that can be said of a snapshot's content without its cluster: the database's own rules and those of what
 * etcd keeps in it, in one pass.
 */
import { utf8Decode } from '../base/bytes.js';
import { type CheckVisitor, checkDatabase } from './bbolt/checker.js';
import { printable } from './bbolt/database.js';
import type { ByteSource } from './bbolt/format.js';
import type { Leaf } from './bbolt/tree.js';
import { decodeRecordKey, describeRecordKey, recordProblem } from './schema.js';

export interface SnapshotCheck {
  /** One line each; empty when the file is whole. */
  readonly problems: readonly string[];
  readonly pages: number;
  readonly records: number;
  /** Main of the last record. */
  readonly revision: number;
}

/** Of the content's problems as many are told; those of the database come first. */
const CONTENT_PROBLEMS_MAX = 100;

/** Checks a database file of etcd, without its digest. Problems are returned, not thrown. */
export function checkSnapshot(source: ByteSource): SnapshotCheck {
  const content = new ContentCheck();
  const { meta, problems } = checkDatabase(source, content);
  if (meta !== undefined && problems.length === 0 && !content.hasKeys) {
    content.problems.push('no database of etcd: it has no bucket "key"');
  }
  const { records, revision } = content;
  return { problems: [...problems, ...content.problems], pages: meta?.highWater ?? 0, records, revision };
}

class ContentCheck implements CheckVisitor {
  readonly problems: string[] = [];
  records = 0;
  revision = 0;
  hasKeys = false;
  #bucket = '';

  bucket(name: Uint8Array): void {
    this.#bucket = utf8Decode(name) ?? '';
    if (this.#bucket === 'key') this.hasKeys = true;
  }

  leaf(leaf: Leaf): void {
    this.records += leaf.count;
    for (let at = 0; at < leaf.count && this.problems.length < CONTENT_PROBLEMS_MAX; at += 1) {
      const key = leaf.key(at);
      const problem = leaf.isBucket(at) ? 'it is a bucket' : recordProblem(this.#bucket, key, leaf.value(at));
      if (problem === undefined) continue;
      const name = this.#bucket === 'key' ? describeRecordKey(key) : printable(key);
      this.problems.push(`bucket ${this.#bucket}, ${name}: ${problem}`);
    }
    if (this.#bucket === 'key' && leaf.count > 0) {
      this.revision = decodeRecordKey(leaf.key(leaf.count - 1))?.main ?? this.revision;
    }
  }
}
