/**
 * What the clients know: every write that was acknowledged, every write whose fate is unknown, everything a read
 * returned. The server is judged against this and nothing else.
 *
 *   write called ──► acknowledged at revision r          must be there from now on, at r, exactly once
 *               └──► unknown (error, no answer) ──► found at revision r      from then on as if acknowledged
 *                                              └──► not found after restart  must stay absent for ever
 *
 * Every write has a value of its own, so that one value found in the store names the one write that made it. Each
 * effective write takes exactly one revision, so the revisions of all known writes are gapless: a revision that is
 * nobody's, or two writes at one revision, is an error of the server.
 *
 * Invariants: `history` holds each revision once; the versions of a key are ascending.
 */
import { writeFileSync } from 'node:fs';

export interface Write {
  readonly id: number;
  readonly kind: 'put' | 'delete';
  readonly key: string;
  /** Bytes of the value of a put. */
  readonly size: number;
  /** The newest revision known to be acknowledged when the write was called: its own must be above. */
  readonly floor: number;
}

export interface Version {
  readonly revision: number;
  readonly write: Write;
}

/** A linearizable read of one key. */
export interface Read {
  readonly key: string;
  readonly floor: number;
  readonly revision: number;
  readonly modRevision: number;
  readonly value: Buffer | undefined;
}

/** Keys below these prefixes: written once (and perhaps deleted), or overwritten by compare-and-put. */
export const uniquePrefix = 'unique/';
export const sharedPrefix = 'shared/';

const firstRevision = 1;

export class Ledger {
  readonly history = new Map<number, Write>();
  readonly unknown = new Set<Write>();
  readonly violations: string[] = [];
  reads: Read[] = [];
  /** The newest revision that any answer carried. */
  seenRevision = firstRevision;
  /** All revisions up to here were accounted for. */
  verifiedRevision = firstRevision;
  /** Nothing below can be asked for: the highest revision at which a compaction was tried. */
  compactRevision = 0;
  readCount = 0;
  #nextId = 1;
  readonly #versions = new Map<string, Version[]>();
  /** Acknowledged since the last check. */
  fresh: Version[] = [];

  /** A write that is about to be called. */
  begin(kind: Write['kind'], key: string, size: number): Write {
    const write = { id: this.#nextId++, kind, key, size, floor: this.seenRevision };
    this.unknown.add(write);
    return write;
  }

  acknowledged(write: Write, revision: number): void {
    if (revision <= write.floor) {
      this.violations.push(`${describe(write)} got revision ${revision}, but ${write.floor} was answered before it`);
    }
    this.found(write, revision);
    this.saw(revision);
    this.fresh.push({ revision, write });
  }

  /** The write had no effect, for certain: its compare did not hold, or there was nothing to delete. */
  withoutEffect(write: Write): void {
    this.unknown.delete(write);
  }

  /** The write is in the store at `revision`. */
  found(write: Write, revision: number): void {
    this.unknown.delete(write);
    const other = this.history.get(revision);
    if (other !== undefined) {
      this.violations.push(`revision ${revision} is both ${describe(other)} and ${describe(write)}`);
      return;
    }
    this.history.set(revision, write);
    const versions = this.versionsOf(write.key);
    let position = versions.length;
    while (position > 0 && versions[position - 1]!.revision > revision) position--;
    versions.splice(position, 0, { revision, write });
    this.#versions.set(write.key, versions);
  }

  read(read: Read): void {
    if (read.revision < read.floor) {
      this.violations.push(
        `stale read of ${read.key}: header revision ${read.revision}, answered before ${read.floor}`,
      );
    }
    this.saw(read.revision);
    this.readCount++;
    this.reads.push(read);
  }

  saw(revision: number): void {
    if (revision > this.seenRevision) this.seenRevision = revision;
  }

  keys(): IterableIterator<string> {
    return this.#versions.keys();
  }

  /** All known versions of a key, oldest first. */
  versionsOf(key: string): Version[] {
    return this.#versions.get(key) ?? [];
  }

  /** The version that is current at `revision`; undefined when there is none yet. */
  versionAt(key: string, revision: number): Version | undefined {
    return this.versionsOf(key).findLast(version => version.revision <= revision);
  }

  /** Writes everything to a file, one JSON object a line, for the person who looks at a failure. */
  dump(path: string): void {
    const lines = [
      ...[...this.history].sort(([a], [b]) => a - b).map(([revision, write]) => ({ revision, ...write })),
      ...[...this.unknown].map(write => ({ unknown: true, ...write })),
      { seenRevision: this.seenRevision, verifiedRevision: this.verifiedRevision, compact: this.compactRevision },
      ...this.violations.map(violation => ({ violation })),
    ];
    writeFileSync(path, `${lines.map(line => JSON.stringify(line)).join('\n')}\n`);
  }
}

/** The value of a put: its id, then a filling that differs from write to write. */
export function valueFor(write: Write): Buffer {
  const value = Buffer.alloc(write.size, `${write.id}.`);
  value.write(`${write.id}:`);
  return value;
}

/** The id of the write that made a value, whatever its rest; NaN when it is not one of ours. */
export function idOf(value: Buffer): number {
  const text = value.toString('latin1', 0, 20);
  return text.includes(':') ? Number(text.slice(0, text.indexOf(':'))) : Number.NaN;
}

export function describe(write: Write): string {
  return `${write.kind} ${write.id} of ${write.key}`;
}
