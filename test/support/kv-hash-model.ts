/** HashKV by its definition, over the naive model's history. */
import { crc32c } from '../../src/base/crc32c.js';
import { type KvModel, kvMessage, type ModelChange } from './kv-model.js';
import { encodeMessage } from './messages.js';

/** The hash at `revision` of a store compacted at `compacted`; nothing of it depends on how records are stored. */
export function hashOf(model: KvModel, revision: bigint, compacted: bigint): number {
  const live = newestPuts(model, revision);
  return checksum(model, revision, compacted, live.size > 0 ? live : model.keptBy(compacted));
}

/** The hash that a compaction at `revision` takes, with `previous` compacted before. */
export function hashOfCompaction(model: KvModel, revision: bigint, previous: bigint): number {
  const kept = model.keptBy(revision);
  return checksum(model, revision, previous, kept.size > 0 ? kept : model.keptBy(previous));
}

function newestPuts(model: KvModel, revision: bigint): Set<ModelChange> {
  return new Set([...model.keptBy(revision)].filter(({ kv }) => kv !== undefined));
}

function checksum(model: KvModel, revision: bigint, compacted: bigint, kept: ReadonlySet<ModelChange>): number {
  let crc = crc32c(Buffer.from('key'));
  for (const change of model.changes) {
    const { main, sub, key, kv } = change;
    if (main > revision || (main <= compacted && !kept.has(change))) continue;
    if (main === compacted && kv === undefined) continue;
    const place = Buffer.alloc(kv === undefined ? 18 : 17, '_');
    place.writeBigUInt64BE(main, 0);
    place.writeBigUInt64BE(sub, 9);
    if (kv === undefined) place.write('t', 17);
    const record = encodeMessage('KeyValue', kv === undefined ? { key: Buffer.from(key, 'latin1') } : kvMessage(kv));
    crc = crc32c(record, crc32c(place, crc));
  }
  return crc;
}
