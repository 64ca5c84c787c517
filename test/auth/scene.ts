/**
 * The scene of the permission matrix: users with every kind of right, keys to have it on, and the calls to ask.
 *
 *   users   root, another with role root, rights on one key, a range, a prefix, from a key on, parts that meet, none;
 *           users whose token was given before a role was revoked or deleted, the user deleted or the password changed
 *   ranges  inside what somebody may, across its edges, exactly it, everything
 *   probes  every call of the interface, those on keys once for every range
 *
 * All of it is the same on every server: the ids of leases are given, and so all revisions are equal.
 */
import type { CallName } from '../support/calls.js';
import type { Outcome } from '../support/differential.js';
import type { Message } from '../support/messages.js';
import type { Ensemble, Request } from './ensemble.js';

export const permission = { read: 0, write: 1, readWrite: 2 } as const;
const toTheEnd = bytes('\0');

/** Role → what it may: type, key, end of the range (none: the key alone). */
const roles: Readonly<Record<string, readonly (readonly [number, string, string?])[]>> = {
  reads: [
    [permission.read, 'exact'],
    [permission.read, 'm/b', 'm/h'],
  ],
  writes: [
    [permission.write, 'exact'],
    [permission.write, 'm/b', 'm/h'],
  ],
  both: [
    [permission.readWrite, 'exact'],
    [permission.readWrite, 'm/b', 'm/h'],
  ],
  prefixed: [[permission.readWrite, 'p/', 'p0']],
  onwards: [[permission.readWrite, 't', '\0']],
  everything: [[permission.readWrite, '\0', '\0']],
  left: [[permission.readWrite, 'm/b', 'm/e']],
  right: [[permission.readWrite, 'm/e', 'm/h']],
  // Reads more than it writes; the grant of a key given again as another type takes the first one's place.
  partly: [
    [permission.read, 'm/b', 'm/h'],
    [permission.write, 'm/d', 'm/f'],
    [permission.write, 'exact'],
    [permission.read, 'exact'],
  ],
  // Single keys beside one another, and a range that ends where a key begins.
  points: [
    [permission.readWrite, 'm/c'],
    [permission.readWrite, 'm/c\0'],
    [permission.readWrite, 'm/c\0\0', 'm/d'],
    [permission.readWrite, 'm/d'],
  ],
};

/** User → roles. Passwords are the names. */
const users: Readonly<Record<string, readonly string[]>> = {
  root: ['root'],
  deputy: ['root'],
  reader: ['reads'],
  writer: ['writes'],
  both: ['both'],
  prefix: ['prefixed'],
  fromKey: ['onwards'],
  all: ['everything'],
  adjacent: ['left', 'right'],
  points: ['points'],
  partly: ['partly'],
  collector: ['reads', 'writes', 'prefixed', 'onwards'],
  nothing: [],
};

/** Who asks in the matrix, and what makes them who they are. `logged` users have a token from before it happened. */
export const actors: Readonly<Record<string, (ensemble: Ensemble) => Promise<unknown>>> = {
  ...Object.fromEntries(Object.keys(users).map(name => [name, (ensemble: Ensemble) => ensemble.login(name)])),
  nobody: async () => {},
  'bad token': async ensemble => ensemble.hold('bad token', 'XXXXXXXXXXXXXXXX.7'),
  'token of no form': async ensemble => ensemble.hold('token of no form', 'no token at all'),
  deleted: ensemble => afterLogin(ensemble, 'deleted', [['UserDelete', { name: 'deleted' }]]),
  'new password': ensemble =>
    afterLogin(ensemble, 'new password', [['UserChangePassword', { name: 'new password', password: 'other' }]]),
  'role revoked': ensemble =>
    afterLogin(ensemble, 'role revoked', [['UserRevokeRole', { name: 'role revoked', role: 'both' }]]),
  'role granted': ensemble =>
    afterLogin(ensemble, 'role granted', [['UserGrantRole', { user: 'role granted', role: 'prefixed' }]]),
  'role deleted': ensemble => afterLogin(ensemble, 'role deleted', [['RoleDelete', { role: 'own of role deleted' }]]),
  'permission revoked': ensemble =>
    afterLogin(ensemble, 'permission revoked', [
      ['RoleRevokePermission', { role: 'own of permission revoked', key: bytes('exact') }],
    ]),
  'was root': ensemble => afterLogin(ensemble, 'was root', [['UserRevokeRole', { name: 'was root', role: 'root' }]]),
};

async function afterLogin(ensemble: Ensemble, name: string, changes: readonly (readonly [CallName, Message])[]) {
  await ensemble.ask('root', 'UserAdd', { name, password: name });
  const own = `own of ${name}`;
  await ensemble.ask('root', 'RoleAdd', { name: own });
  await ensemble.ask('root', 'RoleGrantPermission', { name: own, perm: grant([permission.readWrite, 'exact']) });
  for (const role of ['both', own]) await ensemble.ask('root', 'UserGrantRole', { user: name, role });
  if (name === 'was root') await ensemble.ask('root', 'UserGrantRole', { user: name, role: 'root' });
  await ensemble.login(name);
  for (const [call, request] of changes) await ensemble.ask('root', call, request);
}

/** Makes users and roles on servers whose auth is off, and turns it on. */
export async function build(ensemble: Ensemble): Promise<void> {
  for (const [role, grants] of Object.entries(roles)) {
    await ensemble.ask('', 'RoleAdd', { name: role });
    for (const one of grants) await ensemble.ask('', 'RoleGrantPermission', { name: role, perm: grant(one) });
  }
  for (const [user, granted] of Object.entries(users)) {
    await ensemble.ask('', 'UserAdd', { name: user, password: user });
    for (const role of granted) await ensemble.ask('', 'UserGrantRole', { user, role });
  }
  await ensemble.ask('', 'UserAdd', { name: 'without password', options: { no_password: true } });
  await ensemble.ask('', 'UserGrantRole', { user: 'without password', role: 'everything' });
}

const leases = { foreign: 0x7001n, exact: 0x7002n, free: 0x7003n, several: 0x7004n };
/** One of its own for each place of locks and elections: who holds something with it has to have the right to its keys. */
const elections: Readonly<Record<string, bigint>> = { exact: 0x7011n, 'p/throne': 0x7012n, 'u/throne': 0x7013n };
const keys: readonly (readonly [string, bigint?])[] = [
  ...([['exact', leases.exact], ['foreign', leases.foreign], ['m/a'], ['m/b'], ['m/c'], ['m/e'], ['m/h']] as const),
  ...([['p/x'], ['p/y', leases.several], ['t'], ['u', leases.several], ['z']] as const),
];

/** What the elections that root won in the scene answered, by name and server. */
export type Thrones = ReadonlyMap<string, readonly Message[]>;

/** Brings keys and leases to where they were, whatever the one before was allowed to do. */
export async function restore(ensemble: Ensemble): Promise<Thrones> {
  await ensemble.ask('root', 'DeleteRange', { key: toTheEnd, range_end: toTheEnd });
  for (const ID of [...Object.values(leases), ...Object.values(elections)]) {
    await ensemble.tell('root', 'LeaseRevoke', { ID });
    await ensemble.ask('root', 'LeaseGrant', { ID, TTL: 9000n });
  }
  for (const [key, lease = 0n] of keys) {
    await ensemble.ask('root', 'Put', { key: bytes(key), value: bytes(`of ${key}`), lease });
  }
  const thrones = new Map<string, readonly Message[]>();
  for (const [name, lease] of Object.entries(elections)) {
    const campaign = { name: bytes(name), lease, value: bytes('root') };
    const outcomes: Outcome[] = await ensemble.ask('root', 'Campaign', campaign);
    thrones.set(
      name,
      outcomes.map(({ response }) => response?.leader as Message),
    );
  }
  return thrones;
}

/** Key and end of the range. */
const ranges: readonly (readonly [string, string?])[] = [
  ['exact'],
  ['exact', 'exact\0'],
  ['m/c'],
  ['m/c', 'm/e'],
  ['m/c', 'm/d\0'],
  ['m/d', 'm/f'],
  ['m/b', 'm/h'],
  ['m/a', 'm/c'],
  ['m/f', 'm/h\0'],
  ['exact', '\0'],
  ['m/e', '\0'],
  ['p/', 'p0'],
  ['p/x'],
  ['p', 'q'],
  ['t', '\0'],
  ['s', '\0'],
  ['u', '\0'],
  ['z', 'a'],
  ['foreign'],
  ['\0', '\0'],
];

export type Probe = readonly [CallName, Request];

/** Who is not looked at further than at the token or the role root: a few ranges tell as much as all. */
const alike = ['deputy', 'bad token', 'token of no form', 'deleted', 'new password'];
const few = 3;

/** Everything one actor asks, in order. */
export function probes(actor: string, thrones: Thrones): Probe[] {
  return [
    ...Object.entries(elections).flatMap(([name, lease]) => coordinationProbes(name, lease, thrones)),
    ...ranges
      .slice(0, alike.includes(actor) ? few : ranges.length)
      .flatMap(range => [...readingProbes(range), ...writingProbes(range)]),
    ...leaseProbes,
    ...serverProbes,
    ...authProbes,
  ];
}

function readingProbes([from, end]: readonly [string, string?]): Probe[] {
  const range = { key: bytes(from), ...(end === undefined ? {} : { range_end: bytes(end) }) };
  const compare = { ...range, target: 0, result: 1, version: 9n };
  const other = { request_range: { key: bytes('exact') } };
  return [
    ['Range', range],
    ['Range', { ...range, serializable: true, count_only: true }],
    ['Range', { ...range, revision: 1n << 40n }],
    ['Watch', { create_request: range }],
    ['Txn', { success: [{ request_range: { ...range, serializable: true } }] }],
    ['Txn', { compare: [compare] }],
    // The branch that is not taken counts as well, and what is below it.
    ['Txn', { success: [other], failure: [{ request_range: range }] }],
    ['Txn', { success: [{ request_txn: { failure: [{ request_range: range }] } }] }],
    ['Txn', { success: [{ request_txn: { compare: [compare], success: [{ request_range: range }] } }] }],
  ];
}

function writingProbes([from, end]: readonly [string, string?]): Probe[] {
  const key = bytes(from);
  const range = { key, ...(end === undefined ? {} : { range_end: bytes(end) }) };
  const value = bytes('by whom it was allowed');
  const deleted = [{ request_delete_range: range }];
  const deletes: Probe[] = [
    ['DeleteRange', range],
    ['DeleteRange', { ...range, prev_kv: true }],
    ['Txn', { success: deleted }],
    ['Txn', { success: [{ request_delete_range: { ...range, prev_kv: true } }] }],
  ];
  if (end !== undefined) return deletes;
  return [
    ['Put', { key, value }],
    ['Put', { key, value, prev_kv: true }],
    ['Put', { key, value, lease: leases.foreign }],
    ['Put', { key, value, lease: leases.exact }],
    ['Put', { key, value, lease: leases.free }],
    ['Put', { key, value, lease: 0x7fffn }],
    ['Put', { key, ignore_value: true }],
    ['Put', { key, value, ignore_lease: true }],
    ['Txn', { success: [{ request_put: { key, value } }] }],
    // Never done: what older releases do not check they would do, and the stores would go apart.
    ['Txn', { failure: [{ request_put: { key, value, prev_kv: true } }] }],
    ['Txn', { failure: [{ request_put: { key, value, lease: leases.foreign } }] }],
    ['Txn', { failure: [{ request_put: { key, value, lease: leases.free } }] }],
    ['Txn', { success: [{ request_txn: { failure: [{ request_put: { key, value } }] } }] }],
    ['Txn', { failure: [{ request_txn: { success: [{ request_put: { key, value, prev_kv: true } }] } }] }],
    ['Txn', { failure: [{ request_txn: { success: [{ request_txn: { failure: deleted } }] } }] }],
    ...deletes,
  ];
}

const leaseProbes: readonly Probe[] = [
  ...[...Object.values(leases), 0x7fffn].flatMap((ID): Probe[] => [
    ['LeaseTimeToLive', { ID }],
    ['LeaseTimeToLive', { ID, keys: true }],
    ['LeaseKeepAlive', { ID }],
  ]),
  ['LeaseLeases', {}],
  ['LeaseGrant', { ID: 0x7006n, TTL: 9000n }],
  ['LeaseRevoke', { ID: 0x7006n }],
  ['LeaseRevoke', { ID: 0x7fffn }],
  ...Object.values(leases).map((ID): Probe => ['LeaseRevoke', { ID }]),
];

function coordinationProbes(name: string, lease: bigint, thrones: Thrones): Probe[] {
  const lock = bytes(`${name}/lock`);
  const election = bytes(`${name}/other`);
  const leader = (server: number): Message => thrones.get(name)?.[server] ?? {};
  const own = { name: election, key: bytes(`${name}/other/${lease.toString(16)}`), rev: 1n, lease };
  return [
    ['Lock', { name: lock, lease }],
    ['Unlock', { key: bytes(`${name}/lock/${lease.toString(16)}`) }],
    ['Campaign', { name: election, lease, value: bytes('me') }],
    ['Proclaim', { leader: own, value: bytes('still me') }],
    ['Resign', { leader: own }],
    ['Leader', { name: bytes(name) }],
    ['Observe', { name: bytes(name) }],
    ['Proclaim', server => ({ leader: leader(server), value: bytes('I') })],
    ['Leader', { name: bytes(`${name}/nobody`) }],
    ['Resign', server => ({ leader: leader(server) })],
  ];
}

const peerUrl = 'http://127.0.0.1:1';
const serverProbes: readonly Probe[] = [
  ['MemberList', {}],
  ['MemberList', { linearizable: true }],
  ['MemberRemove', { ID: 7n }],
  ['MemberUpdate', { ID: 7n, peerURLs: [peerUrl] }],
  ['MemberPromote', { ID: 7n }],
  ['MemberAdd', { peerURLs: ['not a URL'] }],
  ['Alarm', {}],
  ['Alarm', { action: 2, alarm: 1 }],
  ['Status', {}],
  ['Hash', {}],
  ['HashKV', {}],
  ['Snapshot', {}],
  ['MoveLeader', { targetID: 7n }],
  ['Downgrade', { action: 0, version: 'none' }],
  ['Compact', { revision: 1n << 40n }],
];

/** For root alone: older releases compact for everybody, and the stores would go apart. */
export const ofRoot: readonly Probe[] = [
  ['Compact', { revision: 2n }],
  ['Compact', { revision: 2n }],
];

/** Not asked by those who may: they would add a member that nobody starts, or rewrite the store. */
export const harmful: readonly Probe[] = [
  ['MemberAdd', { peerURLs: [peerUrl], isLearner: true }],
  ['Defragment', {}],
];

const authProbes: readonly Probe[] = [
  ['AuthStatus', {}],
  ['UserList', {}],
  ['RoleList', {}],
  ...['root', 'reader', 'adjacent', 'nothing', 'deleted', 'no such user'].map((name): Probe => ['UserGet', { name }]),
  ...['reads', 'both', 'left', 'right', 'partly', 'root', 'no such role'].map((role): Probe => ['RoleGet', { role }]),
  ['UserAdd', { name: 'fresh', password: 'fresh' }],
  ['UserAdd', { name: 'fresh', password: 'fresh' }],
  ['UserAdd', { name: '', password: 'fresh' }],
  ['UserGrantRole', { user: 'fresh', role: 'reads' }],
  ['UserGrantRole', { user: 'fresh', role: 'no such role' }],
  ['UserGrantRole', { user: 'no such user', role: 'reads' }],
  ['UserRevokeRole', { name: 'fresh', role: 'reads' }],
  ['UserRevokeRole', { name: 'fresh', role: 'reads' }],
  ['UserRevokeRole', { name: 'root', role: 'root' }],
  ['UserChangePassword', { name: 'fresh', password: 'stale' }],
  ['UserChangePassword', { name: 'no such user', password: 'stale' }],
  ['Authenticate', { name: 'fresh', password: 'fresh' }],
  ['Authenticate', { name: 'without password', password: '' }],
  ['Authenticate', { name: 'without password', password: 'x' }],
  ['Authenticate', { name: 'no such user', password: 'x' }],
  ['Authenticate', {}],
  ['UserDelete', { name: 'fresh' }],
  ['UserDelete', { name: 'fresh' }],
  ['UserDelete', { name: 'root' }],
  ['RoleAdd', { name: 'new' }],
  ['RoleAdd', { name: 'new' }],
  ['RoleAdd', { name: '' }],
  ['RoleGrantPermission', { name: 'new', perm: grant([permission.read, 'k', 'l']) }],
  ['RoleGrantPermission', { name: 'new', perm: grant([permission.read, 'l', 'k']) }],
  ['RoleGrantPermission', { name: 'no such role', perm: grant([permission.read, 'k']) }],
  ['RoleRevokePermission', { role: 'new', key: bytes('k') }],
  ['RoleRevokePermission', { role: 'new', key: bytes('k'), range_end: bytes('l') }],
  ['RoleDelete', { role: 'new' }],
  ['RoleDelete', { role: 'new' }],
  ['RoleDelete', { role: 'root' }],
  ['AuthEnable', {}],
];

function grant([permType, key, end]: readonly [number, string, string?]): Message {
  return { permType, key: bytes(key), ...(end === undefined ? {} : { range_end: bytes(end) }) };
}

export function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
