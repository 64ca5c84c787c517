/**
 * Databases in memory for the tests: written by the writer, or made by hand to break one rule.
 */
import { checkDatabase } from '../../../src/snapshot/bbolt/checker.js';
import { Database } from '../../../src/snapshot/bbolt/database.js';
import { type ByteSource, encodeMetaPage, type Meta, PageKind } from '../../../src/snapshot/bbolt/format.js';
import { DatabaseWriter, type WriterOptions } from '../../../src/snapshot/bbolt/writer.js';

/** Bucket names and their entries, text as UTF-8. */
export type Content = readonly (readonly [
  name: string,
  entries: readonly (readonly [string, string | Uint8Array])[],
])[];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? encoder.encode(text) : text;
}

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** A source over an array that counts what is read, so that a test can bound the work. */
export class MemorySource implements ByteSource {
  readonly bytes: Uint8Array;
  readBytes = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get length(): number {
    return this.bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    if (offset < 0 || length < 0 || offset + length > this.bytes.length) {
      throw new Error(`read of ${length} bytes at ${offset} beyond ${this.bytes.length}`);
    }
    this.readBytes += length;
    return this.bytes.subarray(offset, offset + length);
  }
}

/** Writes a database; what `fill` puts is its content. */
export function writtenBy(fill: (writer: DatabaseWriter) => void, options?: WriterOptions): Uint8Array {
  const parts: Uint8Array[] = [];
  const writer = new DatabaseWriter(chunk => parts.push(chunk.slice()), options);
  fill(writer);
  const { head, lengthBytes } = writer.finish();
  const whole = Buffer.concat([head, ...parts]);
  if (whole.length !== lengthBytes) throw new Error(`written ${whole.length} bytes, announced ${lengthBytes}`);
  return new Uint8Array(whole);
}

export function writtenOf(content: Content, options?: WriterOptions): Uint8Array {
  return writtenBy(writer => {
    for (const [name, entries] of content) {
      writer.bucket(bytesOf(name));
      for (const [key, value] of entries) writer.put(bytesOf(key), bytesOf(value));
    }
  }, options);
}

/** Everything in a database, as hex text. Throws BboltError. */
export function contentOf(bytes: Uint8Array): [name: string, entries: [string, string][]][] {
  return [...Database.open(new MemorySource(bytes)).buckets()].map(bucket => {
    const entries = [...bucket.entries()].map(([key, value]): [string, string] => [hex(key), hex(value)]);
    return [hex(bucket.name), entries];
  });
}

/** The same form for what was put into a database. */
export function hexContent(content: Content): [name: string, entries: [string, string][]][] {
  return content.map(([name, entries]) => [
    hex(bytesOf(name)),
    entries.map(([key, value]): [string, string] => [hex(bytesOf(key)), hex(bytesOf(value))]),
  ]);
}

export function problemsOf(bytes: Uint8Array): readonly string[] {
  return checkDatabase(new MemorySource(bytes)).problems;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export const handPageSize = 1024;

export interface HandElement {
  readonly key: string;
  /** Of a leaf. */
  readonly value?: string | Uint8Array;
  readonly flags?: number;
  /** Of a branch. */
  readonly child?: number;
}

export interface HandPage {
  readonly kind: number;
  readonly elements?: readonly HandElement[];
  /** Ids of a freelist. */
  readonly free?: readonly number[];
  /** What the header says instead of the truth. */
  readonly header?: { readonly id?: number; readonly count?: number; readonly overflow?: number };
}

/** A file of pages of 1024 bytes: two metas, then these pages from page 2 on; undefined is a page of zeros. */
export function handMade(
  pages: readonly (HandPage | undefined)[],
  meta: { readonly root: number; readonly freelist?: number } & Partial<Meta>,
): Uint8Array {
  const file = new Uint8Array((pages.length + 2) * handPageSize);
  const whole: Meta = {
    pageSize: handPageSize,
    freelist: undefined,
    highWater: pages.length + 2,
    txid: 7n,
    ...meta,
  };
  file.set(encodeMetaPage(0, whole), 0);
  file.set(encodeMetaPage(1, { ...whole, txid: whole.txid - 1n }), whole.pageSize);
  pages.forEach((page, at) => {
    if (page !== undefined) writePage(file, at + 2, page);
  });
  return file;
}

function writePage(file: Uint8Array, id: number, { kind, elements = [], free = [], header = {} }: HandPage): void {
  const start = id * handPageSize;
  const view = new DataView(file.buffer, start);
  const count = kind === PageKind.Freelist ? free.length : elements.length;
  view.setBigUint64(0, BigInt(header.id ?? id), true);
  view.setUint16(8, kind, true);
  view.setUint16(10, header.count ?? count, true);
  view.setUint32(12, header.overflow ?? 0, true);
  free.forEach((page, at) => {
    view.setBigUint64(16 + at * 8, BigInt(page), true);
  });
  let data = 16 + elements.length * 16;
  elements.forEach(({ key, value = '', flags = 0, child }, at) => {
    const element = 16 + at * 16;
    const keyBytes = bytesOf(key);
    const valueBytes = bytesOf(value);
    if (kind === PageKind.Branch) {
      view.setUint32(element, data - element, true);
      view.setUint32(element + 4, keyBytes.length, true);
      view.setBigUint64(element + 8, BigInt(child ?? 0), true);
    } else {
      view.setUint32(element, flags, true);
      view.setUint32(element + 4, data - element, true);
      view.setUint32(element + 8, keyBytes.length, true);
      view.setUint32(element + 12, valueBytes.length, true);
    }
    file.set(keyBytes, start + data);
    file.set(valueBytes, start + data + keyBytes.length);
    data += keyBytes.length + valueBytes.length;
  });
}

/** The value of a bucket element whose tree has this root page. */
export function bucketValue(root: number): Uint8Array {
  const value = new Uint8Array(16);
  new DataView(value.buffer).setBigUint64(0, BigInt(root), true);
  return value;
}
