/**
 * Reads of the applied state: ranges, transactions of ranges, hashes. When they may be made is the caller's business
 * (linearizable reads wait for their index), as are the checks of check.ts.
 */
import type { ResponseHeaderTemplate } from '../../wire/header.js';
import type { RangeRequest } from '../../wire/kv.js';
import { ProtoWriter } from '../../wire/proto.js';
import { encodeTxnResponse, type TxnRequest } from '../../wire/txn.js';
import type { KvHash } from '../mvcc/hash.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import { revisionError, writeRange } from '../mvcc/range.js';
import { readTxn } from '../mvcc/txn.js';
import type { Reply } from './reply.js';

export class Reader {
  readonly #mvcc: Mvcc;
  readonly #header: ResponseHeaderTemplate;
  readonly #writer = new ProtoWriter();

  constructor(mvcc: Mvcc, header: ResponseHeaderTemplate) {
    this.#mvcc = mvcc;
    this.#header = header;
  }

  /** RangeResponse, valid until the next. The header carries the current revision, whatever revision was read. */
  range(request: RangeRequest, raftTerm: number): Reply {
    const error = revisionError(this.#mvcc, request.revision);
    if (error !== undefined) return { error };
    const writer = this.#writer.reset();
    this.#header.write(writer, this.#mvcc.currentRevision, raftTerm);
    writeRange(this.#mvcc, request, writer);
    return { ok: writer.view() };
  }

  /** TxnResponse of a transaction without writes (check.ts isReadOnly). */
  txn(request: TxnRequest, raftTerm: number): Reply {
    const outcome = readTxn(this.#mvcc, request);
    if (typeof outcome === 'number') return { error: outcome };
    return { ok: encodeTxnResponse(this.#header, outcome.revision, raftTerm, outcome.result) };
  }

  /** HashKVResponse. */
  hashKv({ hash, compactRevision, revision }: KvHash, raftTerm: number): Uint8Array {
    const writer = this.#writer.reset();
    this.#header.write(writer, this.#mvcc.currentRevision, raftTerm);
    writer.int64Field(2, hash);
    writer.int64Field(3, compactRevision);
    writer.int64Field(4, revision);
    return writer.finish();
  }
}
