/**
 * The gateway's paths: each is a POST that stands for one RPC.
 */
import { Method, type MethodInfo, methodByNumber } from '../../wire/methods.js';

/** Below `/v3/`. Some leases' paths exist twice, for the sake of older clients. */
const paths: readonly (readonly [path: string, method: Method])[] = [
  ['kv/range', Method.KvRange],
  ['kv/put', Method.KvPut],
  ['kv/deleterange', Method.KvDeleteRange],
  ['kv/txn', Method.KvTxn],
  ['kv/compaction', Method.KvCompact],
  ['watch', Method.Watch],
  ['lease/grant', Method.LeaseGrant],
  ['lease/revoke', Method.LeaseRevoke],
  ['kv/lease/revoke', Method.LeaseRevoke],
  ['lease/keepalive', Method.LeaseKeepAlive],
  ['lease/timetolive', Method.LeaseTimeToLive],
  ['kv/lease/timetolive', Method.LeaseTimeToLive],
  ['lease/leases', Method.LeaseLeases],
  ['kv/lease/leases', Method.LeaseLeases],
  ['cluster/member/add', Method.MemberAdd],
  ['cluster/member/remove', Method.MemberRemove],
  ['cluster/member/update', Method.MemberUpdate],
  ['cluster/member/list', Method.MemberList],
  ['cluster/member/promote', Method.MemberPromote],
  ['maintenance/alarm', Method.Alarm],
  ['maintenance/status', Method.Status],
  ['maintenance/defragment', Method.Defragment],
  ['maintenance/hash', Method.Hash],
  ['maintenance/hashkv', Method.HashKv],
  ['maintenance/snapshot', Method.Snapshot],
  ['maintenance/transfer-leadership', Method.MoveLeader],
  ['maintenance/downgrade', Method.Downgrade],
  ['auth/enable', Method.AuthEnable],
  ['auth/disable', Method.AuthDisable],
  ['auth/status', Method.AuthStatus],
  ['auth/authenticate', Method.Authenticate],
  ['auth/user/add', Method.UserAdd],
  ['auth/user/get', Method.UserGet],
  ['auth/user/list', Method.UserList],
  ['auth/user/delete', Method.UserDelete],
  ['auth/user/changepw', Method.UserChangePassword],
  ['auth/user/grant', Method.UserGrantRole],
  ['auth/user/revoke', Method.UserRevokeRole],
  ['auth/role/add', Method.RoleAdd],
  ['auth/role/get', Method.RoleGet],
  ['auth/role/list', Method.RoleList],
  ['auth/role/delete', Method.RoleDelete],
  ['auth/role/grant', Method.RoleGrantPermission],
  ['auth/role/revoke', Method.RoleRevokePermission],
  ['lock/lock', Method.Lock],
  ['lock/unlock', Method.Unlock],
  ['election/campaign', Method.Campaign],
  ['election/proclaim', Method.Proclaim],
  ['election/leader', Method.Leader],
  ['election/observe', Method.Observe],
  ['election/resign', Method.Resign],
];

const routes = new Map(paths.map(([path, method]) => [`/v3/${path}`, methodByNumber(method)!]));

/** The RPC of a path such as `/v3/kv/range`; undefined: there is none. */
export function routeOf(path: string): MethodInfo | undefined {
  return routes.get(path);
}
