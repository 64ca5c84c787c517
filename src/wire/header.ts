/**
 * etcdserverpb.ResponseHeader, written from a template.
 *
 *   0a len [08 cluster_id] [10 member_id] [18 revision] [20 raft_term]
 *
 * The two ids never change while a member runs, so their bytes are made once. The whole is at most 44 bytes, so its
 * length is always one byte. The header is field 1 of every response that has one.
 */
import { ProtoWriter } from './proto.js';

export class ResponseHeaderTemplate {
  private readonly ids: Uint8Array;

  constructor(clusterId: bigint, memberId: bigint) {
    const writer = new ProtoWriter(24);
    writer.bigint64Field(1, clusterId);
    writer.bigint64Field(2, memberId);
    this.ids = writer.finish();
  }

  /** Writes the header as field 1. Revision 0 is left out, as by calls that have nothing to do with the store. */
  write(writer: ProtoWriter, revision: number, raftTerm: number): void {
    const start = writer.open(1);
    writer.raw(this.ids);
    writer.int64Field(3, revision);
    writer.int64Field(4, raftTerm);
    writer.close(start);
  }
}

/** The header of a response inside a Txn: only the revision; with revision 0 an empty, but present message. */
export function writeInnerHeader(writer: ProtoWriter, revision: number): void {
  const start = writer.open(1);
  writer.int64Field(3, revision);
  writer.close(start);
}
