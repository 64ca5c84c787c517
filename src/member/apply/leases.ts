/**
 * The requests about leases against the store: what each does, and etcd's answers to them.
 *
 * A revocation deletes the lease's keys in one write, in ascending order, so that members number the changes alike (L4).
 */

import { Histogram, type MetricCells, Scalar } from '../../transport/metric-cells.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import type { ResponseHeaderTemplate } from '../../wire/header.js';
import { ProtoWriter } from '../../wire/proto.js';
import type { Message } from '../../wire/schema.js';
import type { Lessor } from '../lease/lessor.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import type { ApplyContext, Reply } from './reply.js';

export type LeaseGrantRequest = Message<'etcdserverpb.LeaseGrantRequest'>;
export type LeaseRevokeRequest = Message<'etcdserverpb.LeaseRevokeRequest'>;
export type LeaseCheckpointRequest = Message<'etcdserverpb.LeaseCheckpointRequest'>;

export class LeaseStore {
  readonly #mvcc: Mvcc;
  readonly #lessor: Lessor;
  readonly #header: ResponseHeaderTemplate;
  readonly #cells: MetricCells;
  readonly #writer = new ProtoWriter(4096);

  constructor(mvcc: Mvcc, lessor: Lessor, header: ResponseHeaderTemplate, cells: MetricCells) {
    this.#cells = cells;
    this.#mvcc = mvcc;
    this.#lessor = lessor;
    this.#header = header;
  }

  grant({ ID, TTL }: LeaseGrantRequest, context: ApplyContext): Reply | undefined {
    const granted = this.#lessor.grant(ID, TTL);
    if (typeof granted === 'number') return { error: granted };
    this.#cells.add(Scalar.leasesGranted);
    this.#cells.observe(Histogram.leaseTtl, granted.ttlSeconds);
    return this.#reply(context, writer => {
      writer.bigint64Field(2, ID);
      writer.int64Field(3, granted.ttlSeconds);
    });
  }

  revoke({ ID }: LeaseRevokeRequest, context: ApplyContext): Reply | undefined {
    if (!this.#lessor.has(ID)) return { error: EtcdErrorCode.LeaseNotFound };
    const { table } = this.#mvcc.index;
    const slots = this.#lessor.slotsOf(ID).sort((left, right) => table.compareKey(left, table.key(right)));
    this.#mvcc.begin();
    for (const slot of slots) this.#mvcc.deleteRange(table.key(slot), undefined);
    this.#mvcc.end();
    this.#lessor.remove(ID);
    this.#cells.add(Scalar.leasesRevoked);
    return this.#reply(context);
  }

  checkpoint({ checkpoints }: LeaseCheckpointRequest, context: ApplyContext): Reply | undefined {
    for (const { ID, remaining_TTL: remaining } of checkpoints) this.#lessor.checkpoint(ID, Number(remaining));
    return this.#reply(context);
  }

  /** An answer that has a header, and what `writeRest` adds to it. */
  #reply({ raftTerm, wanted }: ApplyContext, writeRest?: (writer: ProtoWriter) => void): Reply | undefined {
    if (!wanted) return undefined;
    const writer = this.#writer.reset();
    this.#header.write(writer, this.#mvcc.currentRevision, raftTerm);
    writeRest?.(writer);
    return { ok: writer.finish() };
  }
}
