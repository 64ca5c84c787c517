/**
 * What one turn of a member may take in and do, so that a member that has much to catch up with still answers, ticks and
 * gives signs of life between two pieces of it.
 *
 *     host's ring   -> at most recordsPerTurn, bytesPerTurn        the rest stays in the ring
 *     a peer's ring -> at most recordsPerTurn, weightPerTurn       the rest stays in the ring
 *     committed     -> at most weightPerTurn                       the rest stays in the log
 *
 * Whoever leaves a rest says so, and the next turn begins at once: no bell rings for what has come already.
 *
 * Bytes alone would not do: ten thousand small entries take longer than a large one. Entries are weighed with what they
 * cost beyond their bytes (raft/types.ts), so that one number bounds both. All limits are soft by one piece: the records,
 * message or batch that crosses a limit is the last one. So a log write has at most two messages of entries from a peer:
 * 2 MiB, 8192 entries, and what a thousand clients write at once is still one batch.
 */
import { ENTRY_OVERHEAD_BYTES } from './raft/types.js';

/** Records of one ring. */
export const recordsPerTurn = 4096;

/** Bytes of the host's ring. */
export const bytesPerTurn = 1024 * 1024;

/** Weight of entries (entryBytes): from one peer, in one message to one, and of those that are applied. */
export const weightPerTurn = 1024 * 1024;

/** Weight of the own clients' writes that are proposed: what a turn takes in weighs less, so that none pile up. */
export const proposedPerTurn = bytesPerTurn + recordsPerTurn * ENTRY_OVERHEAD_BYTES;
