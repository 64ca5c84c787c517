/**
 * What a snapshot's status says: hash, revision, keys and size, as the release of etcd that wrote the file counts them.
 *
 *   hash       CRC-32C over every bucket's name, then each of its keys and values, in the order of the file
 *   revision   main of the last record in `key`
 *   keys       a file with a storage version (3.6): keys that are there; an older one: records in all buckets together
 *   size       pages in use
 *
 * The file is checked while it is read; a file with a problem has no status.
 */
import { utf8Decode } from '../base/bytes.js';
import { crc32c } from '../base/crc32c.js';
import { decodeKeyValue } from '../wire/kv.js';
import { ProtoError } from '../wire/proto.js';
import { type CheckVisitor, checkDatabase } from './bbolt/checker.js';
import { BboltError, type ByteSource } from './bbolt/format.js';
import type { Leaf } from './bbolt/tree.js';
import { decodeRecordKey, MetaKey, SnapshotError } from './schema.js';

export interface SnapshotStatus {
  readonly hash: number;
  readonly revision: number;
  readonly totalKeys: number;
  readonly totalSizeBytes: number;
  /** Undefined: none in the file, which then is from before 3.6. */
  readonly storageVersion: string | undefined;
}

/** Throws BboltError with the file's first problem, SnapshotError when it is a database but not etcd's. */
export function snapshotStatus(source: ByteSource): SnapshotStatus {
  const summary = new Summary();
  const totalSizeBytes = visitAll(source, summary);
  if (!summary.hasKeys) throw new SnapshotError('no database of etcd: it has no bucket "key"');
  let totalKeys = summary.records;
  if (summary.storageVersion !== undefined) {
    // Known only at the end of the file, and not counted on the way: that takes memory for every key.
    const live = new LiveKeys();
    visitAll(source, live);
    totalKeys = live.count;
  }
  const { hash, revision, storageVersion } = summary;
  return { hash, revision, totalKeys, totalSizeBytes, storageVersion };
}

function visitAll(source: ByteSource, visitor: CheckVisitor): number {
  const { meta, problems } = checkDatabase(source, visitor);
  const problem = problems[0];
  if (meta === undefined || problem !== undefined) throw new BboltError(problem ?? 'no database');
  return meta.highWater * meta.pageSize;
}

class Summary implements CheckVisitor {
  hash = 0;
  records = 0;
  revision = 0;
  hasKeys = false;
  storageVersion: string | undefined;
  #bucket: string | undefined;

  bucket(name: Uint8Array): void {
    this.hash = crc32c(name, this.hash);
    this.#bucket = utf8Decode(name);
    if (this.#bucket === 'key') this.hasKeys = true;
  }

  leaf(leaf: Leaf): void {
    for (let at = 0; at < leaf.count; at += 1) {
      this.hash = crc32c(leaf.isBucket(at) ? leaf.key(at) : leaf.keyAndValue(at), this.hash);
    }
    this.records += leaf.count;
    if (this.#bucket === 'key' && leaf.count > 0) {
      this.revision = decodeRecordKey(leaf.key(leaf.count - 1))?.main ?? this.revision;
    }
    if (this.#bucket === 'meta') {
      for (let at = 0; at < leaf.count; at += 1) {
        if (utf8Decode(leaf.key(at)) === MetaKey.StorageVersion) this.storageVersion = utf8Decode(leaf.value(at));
      }
    }
  }
}

/** Keys whose last record is no tombstone. Sets are split: one holds 2^24 at most. */
class LiveKeys implements CheckVisitor {
  readonly #keys = Array.from({ length: 64 }, () => new Set<string>());
  #inKeys = false;

  get count(): number {
    return this.#keys.reduce((sum, part) => sum + part.size, 0);
  }

  bucket(name: Uint8Array): void {
    this.#inKeys = utf8Decode(name) === 'key';
  }

  leaf(leaf: Leaf): void {
    if (!this.#inKeys) return;
    for (let at = 0; at < leaf.count; at += 1) {
      const value = leaf.value(at);
      const revision = decodeRecordKey(leaf.key(at));
      if (revision === undefined || value.length === 0) continue;
      const key = keyOf(value);
      const part = this.#keys[crc32c(key) % 64]!;
      const name = latin1(key);
      if (revision.tombstone) part.delete(name);
      else part.add(name);
    }
  }
}

function keyOf(value: Uint8Array): Uint8Array {
  try {
    return decodeKeyValue(value).key;
  } catch (error) {
    if (error instanceof ProtoError) throw new SnapshotError(`a record does not decode: ${error.message}`);
    throw error;
  }
}

/** One character a byte. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 1) text += String.fromCharCode(bytes[at]!);
  return text;
}

/** A size as etcdctl prints it: `3.6 MB`. */
export function humanSize(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  const exponent = Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  const scaled = Math.floor((bytes / 1000 ** exponent) * 10 + 0.5) / 10;
  return `${scaled < 10 ? scaled.toFixed(1) : roundHalfToEven(scaled)} ${units[exponent]}`;
}

/** As Go prints without decimals; toFixed rounds a half up. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 && floor % 2 === 0 ? floor : Math.round(value);
}

export const statusFormats = ['simple', 'json', 'fields', 'table'] as const;
export type StatusFormat = (typeof statusFormats)[number];

/** The text that etcdctl (before 3.6) or etcdutl (from 3.6 on) prints for this status. */
export function formatStatus(status: SnapshotStatus, format: StatusFormat): string {
  const { hash, revision, totalKeys, totalSizeBytes, storageVersion } = status;
  const cells: [head: string, cell: string][] = [
    ['HASH', hash.toString(16)],
    ['REVISION', String(revision)],
    ['TOTAL KEYS', String(totalKeys)],
    ['TOTAL SIZE', humanSize(totalSizeBytes)],
  ];
  if (storageVersion !== undefined) cells.push(['VERSION', storageVersion]);
  if (format === 'simple') return `${cells.map(([, cell]) => cell).join(', ')}\n`;
  if (format === 'table') return table(cells);
  const version = storageVersion === undefined ? undefined : JSON.stringify(storageVersion);
  if (format === 'json') {
    const end = version === undefined ? '' : `,"version":${version}`;
    return `{"hash":${hash},"revision":${revision},"totalKey":${totalKeys},"totalSize":${totalSizeBytes}${end}}\n`;
  }
  const lines = [`"Hash" : ${hash}`, `"Revision" : ${revision}`, `"Keys" : ${totalKeys}`, `"Size" : ${totalSizeBytes}`];
  if (storageVersion !== undefined) lines.push(`"Version" : ${storageVersion}`);
  return `${lines.join('\n')}\n`;
}

/** A table of one row, drawn as etcdctl draws it: heads centred, cells to the right. */
function table(cells: readonly (readonly [head: string, cell: string])[]): string {
  const widths = cells.map(([head, cell]) => Math.max(head.length, cell.length));
  const rule = `+${widths.map(width => '-'.repeat(width + 2)).join('+')}+`;
  const heads = cells.map(([head], at) => {
    const left = Math.floor((widths[at]! - head.length) / 2);
    return ` ${' '.repeat(left)}${head}`.padEnd(widths[at]! + 2);
  });
  const row = cells.map(([, cell], at) => ` ${cell.padStart(widths[at]!)} `);
  return [rule, `|${heads.join('|')}|`, rule, `|${row.join('|')}|`, rule, ''].join('\n');
}
