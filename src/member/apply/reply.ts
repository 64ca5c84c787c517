/** What a request comes to: the encoded response, an error of the one table, or a promise to answer later. */
import type { EtcdErrorCode } from '../../wire/errors.js';

export type Reply =
  | { readonly ok: Uint8Array }
  | { readonly error: EtcdErrorCode; readonly detail?: string }
  /**
   * A compaction that is answered when its records are gone and that is on disk: see Applier.compactionReply.
   */
  | { readonly afterCompaction: number };
