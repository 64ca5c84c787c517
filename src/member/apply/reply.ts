/** What applying takes and gives beside the request: who waits, and what it comes to. */
import type { EtcdErrorCode } from '../../wire/errors.js';
import type { RequestIdentity } from '../../wire/internal.js';

/** The entry that is applied: what its answer depends on beside the request. */
export interface ApplyContext {
  readonly raftTerm: number;
  /** Whether somebody waits for the answer here. */
  readonly wanted: boolean;
  /** The entry's place in the log. */
  readonly index: number;
  /** Who asks, as the entry's header says; counts only while auth is on. */
  readonly identity: RequestIdentity;
}

/** What a request comes to: the encoded response, an error of the one table, or a promise to answer later. */
export type Reply =
  | { readonly ok: Uint8Array }
  | { readonly error: EtcdErrorCode; readonly detail?: string }
  /**
   * A compaction that is answered when its records are gone and that is on disk: see Applier.compactionReply.
   */
  | { readonly afterCompaction: number };
