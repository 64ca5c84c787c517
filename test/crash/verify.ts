/**
 * After a restart: is everything there that must be, and nothing else?
 *
 *   1. The revision is not below any that an answer ever carried.
 *   2. Every revision since the last check is exactly one write: an acknowledged one, or an unknown one that is found
 *      in the store. Unknown writes that are not found must never appear.
 *   3. The keys are exactly those the ledger expects, with value, create_revision, mod_revision and version.
 *   4. Every read returned what was current at its revision, in the history as it now stands.
 *   5. Writes acknowledged since the last check, read at their revision: there, with their value.
 *   6. HashKV at the current revision is the same on all members.
 *
 * All failures found are collected; `verify` throws one LedgerViolation that lists them.
 */
import type { GrpcClient } from '../support/grpc-client.js';
import { CallFailed, hashKv, type Pair, range } from './calls.js';
import {
  describe,
  idOf,
  type Ledger,
  sharedPrefix,
  uniquePrefix,
  type Version,
  valueFor,
  type Write,
} from './ledger.js';

/** The server broke a promise; the message lists how. */
export class LedgerViolation extends Error {
  override readonly name = 'LedgerViolation';
}

export interface VerifyResult {
  readonly revision: number;
  /** Unknown writes that turned out to be in the store. */
  readonly resolved: number;
}

const everyKeyEnd = '\0';
const pageKeys = 5_000;
const pointReadsMax = 400;
const callsAtOnce = 32;
const hashAttemptsMax = 400;
const hashRetryMs = 25;
const shownMax = 20;

/** Checks the store behind `clients` (one for each member) against the ledger. */
export async function verify(ledger: Ledger, clients: readonly GrpcClient[]): Promise<VerifyResult> {
  const check = new Check(ledger, clients);
  const result = await check.run();
  if (ledger.violations.length > 0) {
    const shown = ledger.violations.slice(0, shownMax);
    const rest = ledger.violations.length - shown.length;
    throw new LedgerViolation([...shown, ...(rest > 0 ? [`and ${rest} more`] : [])].join('\n'));
  }
  return result;
}

class Check {
  readonly #ledger: Ledger;
  readonly #clients: readonly GrpcClient[];

  constructor(ledger: Ledger, clients: readonly GrpcClient[]) {
    this.#ledger = ledger;
    this.#clients = clients;
  }

  async run(): Promise<VerifyResult> {
    const ledger = this.#ledger;
    const { revision, pairs } = await this.#everything();
    if (revision < ledger.seenRevision) {
      this.#violation(`the store is at revision ${revision}, but ${ledger.seenRevision} was answered before`);
    }
    ledger.saw(revision); // This was a read as well: what it showed must stay.
    const unknownBefore = ledger.unknown.size;
    this.#findUniquePuts(pairs);
    for (let missing = ledger.verifiedRevision + 1; missing <= revision; missing++) {
      if (!ledger.history.has(missing)) await this.#explain(missing, pairs);
    }
    const resolved = unknownBefore - ledger.unknown.size;
    ledger.unknown.clear();
    this.#compareKeys(pairs);
    this.#checkReads();
    // Revisions that the store does not have cannot be asked for.
    if (revision >= ledger.seenRevision) {
      await this.#pointReads();
      await this.#compareHashes(revision);
    }
    ledger.verifiedRevision = revision;
    return { revision, resolved };
  }

  #violation(text: string): void {
    this.#ledger.violations.push(text);
  }

  /** All pairs, at one revision. */
  async #everything(): Promise<{ revision: number; pairs: Map<string, Pair> }> {
    const pairs = new Map<string, Pair>();
    let revision = 0;
    let from = everyKeyEnd;
    for (let more = true; more; ) {
      const page = await range(this.#clients[0]!, from, { rangeEnd: everyKeyEnd, revision, limit: pageKeys });
      for (const pair of page.pairs) pairs.set(pair.key, pair);
      if (revision === 0) revision = page.revision;
      more = page.more;
      from = `${page.pairs.at(-1)?.key}\0`;
    }
    return { revision, pairs };
  }

  #findUniquePuts(pairs: Map<string, Pair>): void {
    for (const write of [...this.#ledger.unknown]) {
      if (write.kind !== 'put' || !write.key.startsWith(uniquePrefix)) continue;
      const pair = pairs.get(write.key);
      if (pair !== undefined) this.#ledger.found(write, pair.modRevision);
    }
  }

  /** A revision that no acknowledged write and no unique put took: an unknown overwrite or delete, or an error. */
  async #explain(revision: number, pairs: Map<string, Pair>): Promise<void> {
    const client = this.#clients[0]!;
    const rangeEnd = `${sharedPrefix}\xff`;
    const answer = await range(client, sharedPrefix, { rangeEnd, revision, minModRevision: revision });
    const [pair] = answer.pairs;
    const id = pair === undefined ? Number.NaN : idOf(pair.value);
    const write = [...this.#ledger.unknown].find(candidate => candidate.id === id);
    if (write !== undefined) return this.#ledger.found(write, revision);
    for (const candidate of this.#ledger.unknown) {
      if (candidate.kind !== 'delete' || pairs.has(candidate.key)) continue;
      const before = await range(client, candidate.key, { revision: revision - 1 });
      const after = await range(client, candidate.key, { revision });
      if (before.pairs.length === 1 && after.pairs.length === 0) return this.#ledger.found(candidate, revision);
    }
    this.#violation(`revision ${revision} is nobody's write`);
  }

  #compareKeys(pairs: Map<string, Pair>): void {
    const ledger = this.#ledger;
    for (const key of ledger.keys()) {
      const expected = expectedPair(ledger.versionsOf(key));
      const found = pairs.get(key);
      if (expected === undefined) {
        if (found !== undefined) this.#violation(`deleted key ${key} is there, written at ${found.modRevision}`);
      } else this.#comparePair(expected, found, 'now');
    }
    for (const [key, pair] of pairs) {
      if (ledger.versionsOf(key).length === 0) {
        this.#violation(`key ${key}, written at ${pair.modRevision} by ${idOf(pair.value)}, must be absent`);
      }
    }
  }

  #comparePair(expected: ExpectedPair, found: Pair | undefined, when: string): void {
    const { write } = expected;
    if (found === undefined) {
      this.#violation(`lost: ${describe(write)}, acknowledged at ${expected.modRevision} (read ${when})`);
      return;
    }
    const { createRevision, modRevision, version } = found;
    if (
      modRevision !== expected.modRevision ||
      createRevision !== expected.createRevision ||
      version !== expected.version ||
      !found.value.equals(valueFor(write))
    ) {
      this.#violation(
        `changed: ${describe(write)} (read ${when}): expected create ${expected.createRevision} mod ` +
          `${expected.modRevision} version ${expected.version}, found create ${createRevision} mod ${modRevision} ` +
          `version ${version}, value of ${idOf(found.value)}, ${found.value.length} of ${write.size} bytes`,
      );
    }
  }

  #checkReads(): void {
    for (const read of this.#ledger.reads) {
      const version = this.#ledger.versionAt(read.key, read.revision);
      const write = version?.write.kind === 'put' ? version.write : undefined;
      const modRevision = write === undefined ? 0 : version!.revision;
      const isValueSame = write === undefined ? read.value === undefined : read.value?.equals(valueFor(write)) === true;
      if (read.modRevision === modRevision && isValueSame) continue;
      const returned = read.value === undefined ? 'nothing' : `write ${idOf(read.value)} of ${read.modRevision}`;
      const holds = write === undefined ? 'nothing' : `write ${write.id} of ${modRevision}`;
      this.#violation(`a read of ${read.key} at ${read.revision} returned ${returned}; history holds ${holds}`);
    }
    this.#ledger.reads = [];
  }

  /** Reads writes of the last load at their revisions: overwritten and deleted ones are no longer in the bulk. */
  async #pointReads(): Promise<void> {
    const ledger = this.#ledger;
    const fresh = ledger.fresh.filter(({ revision }) => revision > ledger.verifiedRevision);
    const step = Math.max(1, Math.floor(fresh.length / pointReadsMax));
    const chosen = fresh.filter(
      ({ write }, i) => i % step === 0 || write.kind === 'delete' || write.key.startsWith(sharedPrefix),
    );
    await inParallel(chosen, async ({ revision, write }, i) => {
      const client = this.#clients[i % this.#clients.length]!;
      const { pairs } = await range(client, write.key, { revision });
      const versions = ledger.versionsOf(write.key);
      const expected = expectedPair(versions.filter(version => version.revision <= revision));
      if (expected !== undefined) this.#comparePair(expected, pairs[0], `at ${revision}`);
      else if (pairs.length > 0) this.#violation(`${describe(write)} at ${revision} left the key there`);
    });
    ledger.fresh = [];
  }

  async #compareHashes(revision: number): Promise<void> {
    const answers = await Promise.all(this.#clients.map(client => hashWhenCaughtUp(client, revision)));
    const texts = answers.map(({ hash, compactRevision }) => `${hash} (compacted at ${compactRevision})`);
    if (new Set(texts).size > 1) this.#violation(`HashKV at ${revision} differs: ${texts.join(', ')}`);
  }
}

interface ExpectedPair {
  readonly write: Write;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

/** What a key with these versions holds after the last of them. */
function expectedPair(versions: readonly Version[]): ExpectedPair | undefined {
  const last = versions.at(-1);
  if (last === undefined || last.write.kind === 'delete') return undefined;
  const created = versions.findLastIndex(version => version.write.kind === 'delete') + 1;
  return {
    write: last.write,
    createRevision: versions[created]!.revision,
    modRevision: last.revision,
    version: versions.length - created,
  };
}

/** A member that is behind answers OutOfRange (future revision); it is asked again until it has caught up. */
async function hashWhenCaughtUp(client: GrpcClient, revision: number) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await hashKv(client, revision);
    } catch (error) {
      if (!(error instanceof CallFailed) || attempt === hashAttemptsMax) throw error;
      await new Promise(resolve => setTimeout(resolve, hashRetryMs));
    }
  }
}

async function inParallel<T>(items: readonly T[], call: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async () => {
    while (next < items.length) {
      const index = next++;
      await call(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: callsAtOnce }, work));
}
