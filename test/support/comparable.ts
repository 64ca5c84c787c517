/** What of an answer is compared between two servers. */
import type { Message, Value } from './messages.js';

/** Without the fields that name a server instead of the data; lists whose order is not promised are sorted. */
export function comparable(response: Message): Message {
  const entries = Object.entries(response).map(([name, value]): [string, Value] => {
    if (name === 'header' && value !== undefined) {
      const { cluster_id: _cluster, member_id: _member, raft_term: _term, ...header } = value as Message;
      return [name, header];
    }
    if (name === 'TTL' && 'grantedTTL' in response) return [name, (value as bigint) > 0n];
    if (name === 'leases') return [name, (value as Message[]).map(({ ID }) => ID).sort()];
    if (name === 'keys') return [name, [...(value as Buffer[])].sort(Buffer.compare)];
    return [name, value];
  });
  return Object.fromEntries(entries);
}
