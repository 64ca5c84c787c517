/**
 * Which RPCs this version serves.
 *
 * A method of etcd's that is not listed is answered Unimplemented with a text that says so: an honest refusal, never a
 * made-up answer.
 */
import { Method, type MethodInfo } from '../../wire/methods.js';

const served: ReadonlySet<number> = new Set([
  Method.KvRange,
  Method.KvPut,
  Method.KvDeleteRange,
  Method.KvTxn,
  Method.KvCompact,
  Method.Watch,
  Method.LeaseGrant,
  Method.LeaseRevoke,
  Method.LeaseKeepAlive,
  Method.LeaseTimeToLive,
  Method.LeaseLeases,
  Method.Lock,
  Method.Unlock,
  Method.Campaign,
  Method.Proclaim,
  Method.Leader,
  Method.Observe,
  Method.Resign,
  Method.MemberAdd,
  Method.MemberRemove,
  Method.MemberUpdate,
  Method.MemberList,
  Method.MemberPromote,
  Method.Alarm,
  Method.Status,
  Method.HashKv,
  Method.Snapshot,
  Method.Hash,
  Method.MoveLeader,
  Method.Downgrade,
  Method.Defragment,
]);

export function isServed(info: MethodInfo): boolean {
  return served.has(info.method);
}

/** The refusal's text. */
export function notServedText(info: MethodInfo): string {
  return `kvorum: ${info.service}/${info.name} is not served by this version`;
}
