/**
 * Seeded programs against the naive model, answer by answer and byte by byte; with slices of compaction, commits,
 * restarts and crashes between the requests. KVORUM_MVCC_PROGRAMS says how many.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { revisionBytes } from '../../../src/member/mvcc/storage.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { ProtoError } from '../../../src/wire/proto.js';
import { decode } from '../../../src/wire/schema.js';
import { KvModel, kvMessage, type ModelAnswer } from '../../support/kv-model.js';
import { KvSubject, subjectClusterId, subjectTerm } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import { decodeMessage, encodeMessage, type Message } from '../../support/messages.js';
import { generateProgram, methods, type Operation, programLeases } from '../../support/programs.js';

const programs = Number(process.env.KVORUM_MVCC_PROGRAMS ?? 500);
const options = {
  undefinedSortTargets: true,
  bigValues: false,
  operationsMax: 60,
  leases: true,
  revisionsInTxns: true,
};
const kvMethods = ['Range', 'Put', 'DeleteRange', 'Txn', 'Compact'] as const;
type KvMethod = (typeof kvMethods)[number];

function isKv(method: string): method is KvMethod {
  return (kvMethods as readonly string[]).includes(method);
}

/** The generator damages some requests; what etcd's decoder refuses never reaches the store. */
function isDecodable(method: KvMethod, body: Uint8Array): boolean {
  try {
    decode(`etcdserverpb.${methods[method].request}`, body);
    return true;
  } catch (error) {
    assert.ok(error instanceof ProtoError);
    return false;
  }
}

class Run {
  readonly #prng: Prng;
  readonly model = new KvModel(programLeases);
  subject = new KvSubject(new MemoryStateStore(), { leases: programLeases });

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  step({ method, request, body }: Operation): void {
    if (request === undefined || !isKv(method) || !isDecodable(method, body)) return;
    const expected = this.model.execute(method, decodeMessage(methods[method].request, body));
    const reply = this.subject.execute(method, body);
    assert.ok(reply !== undefined, 'a wanted request is answered');
    if ('error' in expected || 'error' in reply) {
      assert.equal(
        'error' in reply ? etcdErrorName(reply.error) : 'none',
        'error' in expected ? expected.error : 'none',
      );
    } else {
      const answered = 'ok' in reply ? reply.ok : this.#settled(reply.afterCompaction);
      assert.deepEqual(Buffer.from(answered), encoded(method, expected));
    }
    this.#between();
  }

  /** A physical compaction: runs to its end, is committed, then answered. */
  #settled(revision: number): Uint8Array {
    assert.equal(BigInt(revision), this.model.compacted);
    while (!this.subject.applier.compacted(revision)) this.subject.applier.background(1 + this.#prng.nextBelow(4));
    this.subject.store.commit();
    return this.subject.applier.compactionReply(subjectTerm);
  }

  #between(): void {
    const dice = this.#prng.nextBelow(20);
    if (dice < 6) this.subject.applier.background(1 + this.#prng.nextBelow(5));
    if (dice === 6) this.subject.store.commit();
    if (dice === 7) this.subject.restart(this.subject.store.crash());
    if (dice === 8) this.#compareWithRebuilt();
  }

  /** A restart without loss builds exactly the index that is there (when no compaction is half way through). */
  #compareWithRebuilt(): void {
    const { mvcc } = this.subject.applier;
    if (mvcc.finishedCompactRevision !== mvcc.compactRevision) return;
    this.subject.store.commit();
    const rebuilt = new KvSubject(this.subject.store.crash(), { leases: programLeases });
    assert.deepEqual(dumpIndex(rebuilt), dumpIndex(this.subject));
  }

  /** After everything: the records are those that the model's history leaves, and the indexes agree with them. */
  finish(): void {
    this.subject.settle();
    const expected = this.model.records().map(({ main, sub, key, kv }) => ({
      revision: Buffer.from(revisionBytes(Number(main), Number(sub), kv === undefined)).toString('hex'),
      value: encodeMessage('KeyValue', kv === undefined ? { key: Buffer.from(key, 'latin1') } : kvMessage(kv)),
    }));
    const found: typeof expected = [];
    this.subject.store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
      const revision = Buffer.from(revisionBytes(main, sub, tombstone)).toString('hex');
      return found.push({ revision, value: Buffer.from(value) }) > 0;
    });
    assert.deepEqual(found, expected);
    this.subject.applier.mvcc.index.check();
    this.#compareWithRebuilt();
    assert.equal(BigInt(this.subject.applier.currentRevision), this.model.revision);
  }
}

function encoded(method: KvMethod, expected: ModelAnswer): Buffer {
  assert.ok('response' in expected);
  const { response } = expected;
  const ids = { cluster_id: subjectClusterId, member_id: 0xa1n, raft_term: BigInt(subjectTerm) };
  const header = { ...(response.header as Message), ...ids };
  return encodeMessage(methods[method].response, { ...response, header });
}

function dumpIndex({ applier }: KvSubject<MemoryStateStore>): unknown {
  const { index, currentRevision, compactRevision } = applier.mvcc;
  const { table } = index;
  const keys: unknown[] = [];
  index.visitAll(slot => {
    const revisions = Array.from({ length: table.count(slot) }, (_, at) =>
      [table.mainAt(slot, at), table.subAt(slot, at), table.tombstoneAt(slot, at)].join(' '),
    );
    const key = Buffer.from(table.key(slot)).toString('latin1');
    return keys.push({ key, revisions, created: table.createdMain(slot), version: table.version(slot) }) > 0;
  });
  return { keys, size: index.size, currentRevision, compactRevision };
}

test(`${programs} programs answer as the model does`, () => {
  for (let seed = 1; seed <= programs; seed += 1) {
    const run = new Run(seed);
    const program = generateProgram(seed, 1n, options);
    program.forEach((operation, at) => {
      try {
        run.step(operation);
      } catch (error) {
        throw new Error(`seed ${seed}, operation ${at} (${operation.method}): ${(error as Error).message}`, {
          cause: error,
        });
      }
    });
    run.finish();
  }
});
