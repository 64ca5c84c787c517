/**
 * Auth on three real members, asked through their ports with callers: every member decides alike, whatever it has been
 * through. Who hashes passwords and reads metadata is not here: the host's half has tests of its own.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EtcdError } from '../../../src/client/channel.js';
import { type Asker, askMember, serverAsks } from '../../../src/host/member-call.js';
import type { MemberPort, StreamWaiter } from '../../../src/host/member-port.js';
import type { Supervised } from '../../../src/host/supervised.js';
import { type Cluster, type ClusterOptions, startCluster } from '../../../src/index.js';
import { decodeAuthenticated, decodePasswordFacts, encodeAuthenticate } from '../../../src/transport/authentication.js';
import { encodeClaimsCaller, encodeCommonNameCaller, encodeTokenCaller } from '../../../src/transport/caller.js';
import { Method } from '../../../src/wire/methods.js';
import { decode, encode, type Message, type MessageInput, type MessageName } from '../../../src/wire/schema.js';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const HASH_TEXT = '$2a$04$not.a.hash.that.anybody.compares';
const hashedPassword = Buffer.from(HASH_TEXT).toString('base64');
const nobody: Asker = {};
const named = (name: string): Asker => ({ caller: encodeCommonNameCaller(name) });
const withToken = (token: string): Asker => ({ caller: encodeTokenCaller(token) });
const DENIED = 'etcdserver: permission denied';
const EMPTY = 'etcdserver: user name is empty';
const UNKNOWN_TOKEN = 'etcdserver: invalid auth token';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-auth-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

class Stage {
  readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  static async start(t: TestContext, options: ClusterOptions = {}): Promise<Stage> {
    const cluster = await startCluster({ logLevel: 'silent', ...options });
    t.after(() => cluster.close());
    return new Stage(cluster);
  }

  get ports(): MemberPort[] {
    return this.cluster.members.map(member => (member as Supervised).handle.port);
  }

  /** What member `at` answers: the message, or the error's text. */
  async ask(at: number, asker: Asker, method: Method, request: Uint8Array): Promise<Uint8Array | string> {
    try {
      return await askMember(this.ports[at] as MemberPort, method, request, { timeoutMs: 10_000 }, asker);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      return error.message;
    }
  }

  /** `ok`, or the error's text. */
  async tell<Name extends MessageName>(
    asker: Asker,
    method: Method,
    message: Name,
    request: MessageInput<Name> = {} as MessageInput<Name>,
    at = 0,
  ): Promise<string> {
    const answer = await this.ask(at, asker, method, encode(message, request));
    return typeof answer === 'string' ? answer : 'ok';
  }

  get(asker: Asker, key: string, at = 0, serializable = false): Promise<string> {
    return this.tell(asker, Method.KvRange, 'etcdserverpb.RangeRequest', { key: bytes(key), serializable }, at);
  }

  put(asker: Asker, key: string, at = 0, lease = 0n): Promise<string> {
    const request = { key: bytes(key), value: bytes('v'), lease };
    return this.tell(asker, Method.KvPut, 'etcdserverpb.PutRequest', request, at);
  }

  /** Users root, alice (READWRITE a..b) and bob (READ a..b), and auth on. */
  async prepare(): Promise<void> {
    const admin = async <Name extends MessageName>(
      method: Method,
      message: Name,
      request: MessageInput<Name>,
    ): Promise<void> => assert.equal(await this.tell(nobody, method, message, request), 'ok', message);
    for (const name of ['root', 'alice', 'bob']) {
      await admin(Method.UserAdd, 'etcdserverpb.AuthUserAddRequest', { name, hashedPassword });
    }
    for (const [name, permType] of [['alices', 2] as const, ['bobs', 0] as const]) {
      await admin(Method.RoleAdd, 'etcdserverpb.AuthRoleAddRequest', { name });
      const perm = { permType, key: bytes('a'), range_end: bytes('b') };
      await admin(Method.RoleGrantPermission, 'etcdserverpb.AuthRoleGrantPermissionRequest', { name, perm });
    }
    for (const [user, role] of [['root', 'root'] as const, ['alice', 'alices'] as const, ['bob', 'bobs'] as const]) {
      await admin(Method.UserGrantRole, 'etcdserverpb.AuthUserGrantRoleRequest', { user, role });
    }
    await admin(Method.AuthEnable, 'etcdserverpb.AuthEnableRequest', {});
    // A confirmed read: from then on every member knows, also what it answers by itself.
    for (const at of this.ports.keys()) assert.equal(await this.get(serverAsks, 'a', at), 'ok');
  }

  async facts(at: number, name: string) {
    const answer = await this.ask(at, serverAsks, Method.AuthPassword, bytes(name));
    assert.ok(typeof answer !== 'string', String(answer));
    return decodePasswordFacts(answer);
  }

  async login(at: number, name: string): Promise<string> {
    const { revision } = await this.facts(at, name);
    const answer = await this.ask(
      at,
      serverAsks,
      Method.Authenticate,
      encodeAuthenticate(revision, name, 'sixteenlettersss'),
    );
    assert.ok(typeof answer !== 'string', String(answer));
    return decodeAuthenticated(answer).response.token;
  }

  /** The hash over everything of every running member, read after all have applied what was acknowledged. */
  async hashes(): Promise<number[]> {
    const hashes: number[] = [];
    for (const [at, { running }] of this.cluster.members.entries()) {
      if (!running) continue;
      assert.equal(await this.get(serverAsks, 'a', at), 'ok');
      const answer = await this.ask(at, serverAsks, Method.Hash, new Uint8Array(0));
      assert.ok(typeof answer !== 'string', String(answer));
      hashes.push(decode('etcdserverpb.HashResponse', answer).hash);
    }
    return hashes;
  }

  stream<Name extends MessageName>(asker: Asker, method: Method, response: Name, at = 0): Heard<Name> {
    return new Heard(this.ports[at] as MemberPort, asker, method, response);
  }
}

/** A stream of a member, message by message. */
class Heard<Name extends MessageName> implements StreamWaiter {
  readonly #port: MemberPort;
  readonly #id: number;
  readonly #response: Name;
  readonly #messages: (Message<Name> | string)[] = [];
  #wake: () => void = () => {};

  constructor(port: MemberPort, { caller }: Asker, method: Method, response: Name) {
    this.#port = port;
    this.#response = response;
    this.#id = port.openStream(method, false, this, caller);
  }

  send<Request extends MessageName>(message: Request, request: MessageInput<Request>): void {
    this.#port.send(this.#id, encode(message, request));
  }

  /** The next message, or the error that ended the stream. */
  async next(): Promise<Message<Name> | string> {
    while (this.#messages.length === 0) await new Promise<void>(resolve => (this.#wake = resolve));
    return this.#messages.shift() as Message<Name> | string;
  }

  received(message: Uint8Array, _given: boolean, head: Uint8Array | undefined): void {
    this.#messages.push(decode(this.#response, Buffer.concat([head ?? new Uint8Array(0), message])));
    this.#wake();
  }

  ended(code: number, detail: string): void {
    this.#messages.push(`ended ${code} ${detail}`);
    this.#wake();
  }
}

test('every member knows who calls: tokens, certificates, claims, nobody', async t => {
  const stage = await Stage.start(t);
  assert.deepEqual(await stage.facts(0, 'alice'), { enabled: false, hash: '', noPassword: false, revision: 1 });
  assert.equal(await stage.get(withToken('any.1'), 'a1'), 'ok', 'with auth off nobody is looked at');
  await stage.prepare();
  const { revision } = await stage.facts(1, 'alice');
  assert.deepEqual(await stage.facts(2, 'alice'), { enabled: true, hash: HASH_TEXT, noPassword: false, revision });
  const stale = await stage.ask(0, serverAsks, Method.Authenticate, encodeAuthenticate(revision - 1, 'alice', 'stale'));
  assert.equal(stale, 'etcdserver: revision of auth store is old');
  for (const method of [Method.AuthPassword, Method.Authenticate]) {
    assert.equal(await stage.ask(0, named('root'), method, bytes('alice')), 'etcdserver: unknown method');
  }

  // A token of one member counts at once at every other: who has not applied the login waits for it.
  for (let round = 0; round < 20; round += 1) {
    const token = await stage.login(round % 3, 'alice');
    const answers = await Promise.all([0, 1, 2].map(at => stage.get(withToken(token), 'a1', at, true)));
    assert.deepEqual(answers, ['ok', 'ok', 'ok']);
  }
  const alice = withToken(await stage.login(0, 'alice'));
  for (let at = 0; at < 3; at += 1) {
    assert.equal(await stage.put(alice, 'a1', at), 'ok');
    assert.equal(await stage.put(alice, 'b1', at), DENIED);
    assert.equal(await stage.get(alice, 'b1', at), DENIED);
    assert.equal(await stage.get(withToken('sixteenlettersss.3'), 'a1', at), UNKNOWN_TOKEN);
    assert.equal(await stage.put(withToken('no-token'), 'a1', at), UNKNOWN_TOKEN);
    assert.equal(await stage.get(named('bob'), 'a1', at, true), 'ok');
    assert.equal(await stage.get(named('eve'), 'a1', at), DENIED);
    assert.equal(await stage.get(nobody, 'a1', at), EMPTY);
    assert.equal(await stage.put(nobody, 'a1', at), EMPTY);
    assert.equal(await stage.put({ caller: encodeClaimsCaller('alice', revision) }, 'a1', at), 'ok');
    const old = { caller: encodeClaimsCaller('alice', revision - 1) };
    assert.equal(await stage.put(old, 'a1', at), 'etcdserver: revision of auth store is old');
    assert.equal(await stage.put(serverAsks, 'b1', at), 'ok', 'the embedding program is the administrator');
  }
  assert.equal(new Set(await stage.hashes()).size, 1);
});

test('what is not about keys wants some user, or root, or the right to the keys behind it', async t => {
  const stage = await Stage.start(t);
  await stage.prepare();
  const need = async (method: Method, message: MessageName, request: object = {}): Promise<string[]> =>
    Promise.all(
      [nobody, withToken('x'), named('bob')].map(who => stage.tell(who, method, message, request as never, 1)),
    );
  const forUsers = [EMPTY, UNKNOWN_TOKEN, 'ok'];
  const forRoot = [EMPTY, UNKNOWN_TOKEN, DENIED];
  assert.deepEqual(await need(Method.Status, 'etcdserverpb.StatusRequest'), forUsers);
  assert.deepEqual(await need(Method.MemberList, 'etcdserverpb.MemberListRequest'), forUsers);
  assert.deepEqual(await need(Method.MemberList, 'etcdserverpb.MemberListRequest', { linearizable: true }), forUsers);
  assert.deepEqual(await need(Method.Alarm, 'etcdserverpb.AlarmRequest'), forUsers);
  assert.deepEqual(await need(Method.Alarm, 'etcdserverpb.AlarmRequest', { action: 1, alarm: 1 }), forRoot);
  assert.deepEqual(await need(Method.LeaseGrant, 'etcdserverpb.LeaseGrantRequest', { TTL: 60n }), forUsers);
  assert.deepEqual(await need(Method.KvCompact, 'etcdserverpb.CompactionRequest', { revision: 1n }), forRoot);
  assert.deepEqual(await need(Method.HashKv, 'etcdserverpb.HashKVRequest'), forRoot);
  assert.deepEqual(await need(Method.Hash, 'etcdserverpb.HashRequest'), forRoot);
  assert.deepEqual(await need(Method.Defragment, 'etcdserverpb.DefragmentRequest'), forRoot);
  assert.deepEqual(await need(Method.MoveLeader, 'etcdserverpb.MoveLeaderRequest', { targetID: 1n }), forRoot);
  assert.deepEqual(await need(Method.Downgrade, 'etcdserverpb.DowngradeRequest'), forRoot);
  assert.deepEqual(await need(Method.MemberRemove, 'etcdserverpb.MemberRemoveRequest', { ID: 1n }), forRoot);
  assert.deepEqual(await need(Method.UserList, 'etcdserverpb.AuthUserListRequest'), forRoot);
  assert.equal(await stage.tell(named('root'), Method.UserList, 'etcdserverpb.AuthUserListRequest'), 'ok');
  assert.equal(await stage.stream(named('bob'), Method.Snapshot, 'etcdserverpb.SnapshotResponse').next(), 'ended 37 ');

  const [alice, bob] = [named('alice'), named('bob')];
  const ID = 77n;
  assert.equal(await stage.tell(alice, Method.LeaseGrant, 'etcdserverpb.LeaseGrantRequest', { ID, TTL: 60n }), 'ok');
  for (let at = 0; at < 3; at += 1) {
    assert.equal(await stage.put(alice, `a${at}`, at, ID), 'ok');
    const ask = (who: Asker, keys: boolean): Promise<string> =>
      stage.tell(who, Method.LeaseTimeToLive, 'etcdserverpb.LeaseTimeToLiveRequest', { ID, keys }, at);
    assert.deepEqual(await Promise.all([ask(bob, true), ask(named('eve'), false), ask(nobody, false)]), [
      'ok',
      'ok',
      EMPTY,
    ]);
    assert.equal(await ask(named('eve'), true), DENIED);
    const list = (who: Asker): Promise<string> =>
      stage.tell(who, Method.LeaseLeases, 'etcdserverpb.LeaseLeasesRequest', {}, at);
    assert.deepEqual(await Promise.all([list(bob), list(named('eve')), list(nobody)]), ['ok', DENIED, EMPTY]);
    for (const [who, expected] of [
      [bob, 'ended 37 '],
      [nobody, 'ended 30 '],
      [withToken('x'), 'ended 41 '],
    ] as const) {
      const stream = stage.stream(who, Method.LeaseKeepAlive, 'etcdserverpb.LeaseKeepAliveResponse', at);
      stream.send('etcdserverpb.LeaseKeepAliveRequest', { ID });
      assert.equal(await stream.next(), expected);
    }
    const stream = stage.stream(alice, Method.LeaseKeepAlive, 'etcdserverpb.LeaseKeepAliveResponse', at);
    stream.send('etcdserverpb.LeaseKeepAliveRequest', { ID });
    const renewed = await stream.next();
    assert.ok(typeof renewed !== 'string' && renewed.TTL === 60n);
  }
  const revoke = (who: Asker): Promise<string> =>
    stage.tell(who, Method.LeaseRevoke, 'etcdserverpb.LeaseRevokeRequest', { ID }, 2);
  assert.deepEqual([await revoke(bob), await revoke(nobody), await revoke(alice)], [DENIED, EMPTY, 'ok']);
});

test('watches: refused with etcd’s reason, and cut when the right goes', async t => {
  const stage = await Stage.start(t);
  const early = stage.stream(nobody, Method.Watch, 'etcdserverpb.WatchResponse', 2);
  early.send('etcdserverpb.WatchRequest', { create_request: { key: bytes('a') } });
  await early.next();
  await stage.prepare();
  const reason = (text: string): object => ({ created: true, canceled: true, watch_id: -1n, cancel_reason: text });
  const seen = async (stream: Heard<'etcdserverpb.WatchResponse'>): Promise<object> => {
    const message = await stream.next();
    assert.ok(typeof message !== 'string', String(message));
    const { created, canceled, watch_id, cancel_reason, events } = message;
    return {
      created,
      canceled,
      watch_id,
      cancel_reason,
      ...(events.length > 0 && { keys: events.map(({ kv }) => Buffer.from(kv?.key ?? []).toString()) }),
    };
  };
  const denied = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
  const userEmpty = 'rpc error: code = InvalidArgument desc = etcdserver: user name is empty';
  const cut = (id: bigint, text: string): object => ({
    created: false,
    canceled: true,
    watch_id: id,
    cancel_reason: text,
  });
  assert.deepEqual(await seen(early), cut(0n, userEmpty), 'who came while auth was off');

  const watch = (who: Asker, key: string, end = ''): Heard<'etcdserverpb.WatchResponse'> => {
    const stream = stage.stream(who, Method.Watch, 'etcdserverpb.WatchResponse', 2);
    stream.send('etcdserverpb.WatchRequest', { create_request: { key: bytes(key), range_end: bytes(end) } });
    return stream;
  };
  assert.deepEqual(await seen(watch(nobody, 'a')), reason(userEmpty));
  const invalid = 'rpc error: code = Unauthenticated desc = etcdserver: invalid auth token';
  assert.deepEqual(await seen(watch(withToken('x'), 'a')), reason(invalid));
  assert.deepEqual(await seen(watch(named('bob'), 'b')), reason(denied));
  assert.deepEqual(await seen(watch(named('bob'), 'a', '\0')), reason(denied), 'GHSA-xg4h-6gfc-h4m8');
  const created = { created: true, canceled: false, watch_id: 0n, cancel_reason: '' };
  const [alice, bob] = [watch(named('alice'), 'a', 'b'), watch(named('bob'), 'a', 'b')];
  assert.deepEqual([await seen(alice), await seen(bob)], [created, created]);

  const event = (key: string): object => ({
    created: false,
    canceled: false,
    watch_id: 0n,
    cancel_reason: '',
    keys: [key],
  });
  assert.equal(await stage.put(named('alice'), 'a1'), 'ok');
  const revoked = { role: 'bobs', key: bytes('a'), range_end: bytes('b') };
  const forbid = stage.tell(
    named('root'),
    Method.RoleRevokePermission,
    'etcdserverpb.AuthRoleRevokePermissionRequest',
    revoked,
  );
  assert.equal(await forbid, 'ok');
  assert.equal(await stage.put(named('alice'), 'a2'), 'ok');
  assert.deepEqual([await seen(bob), await seen(bob)], [event('a1'), cut(0n, denied)]);
  assert.deepEqual([await seen(alice), await seen(alice)], [event('a1'), event('a2')]);
  assert.equal(
    await stage.tell(named('root'), Method.UserDelete, 'etcdserverpb.AuthUserDeleteRequest', { name: 'alice' }),
    'ok',
  );
  assert.deepEqual(await seen(alice), cut(0n, denied));
});

test('auth survives restarts, a snapshot between members and a snapshot file', async t => {
  const dataDir = join(folder(t), 'data');
  const options = { snapshotCount: 40, snapshotCatchUpEntries: 5 };
  const stage = await Stage.start(t, { dataDir, ...options });
  await stage.prepare();
  const token = await stage.login(1, 'alice');
  const [follower] = stage.cluster.members.flatMap((member, at) => (member === stage.cluster.leader() ? [] : [at]));
  const away = stage.cluster.members[follower as number];
  const at = (follower as number) === 0 ? 1 : 0;
  assert.ok(away !== undefined);

  // While it is away users change, and so much is written that it can only be sent the whole state.
  await away.stop();
  for (const [user, role] of [['bob', 'alices']] as const) {
    const grant = stage.tell(
      named('root'),
      Method.UserGrantRole,
      'etcdserverpb.AuthUserGrantRoleRequest',
      { user, role },
      at,
    );
    assert.equal(await grant, 'ok');
  }
  for (let count = 0; count < 150; count += 1) assert.equal(await stage.put(named('bob'), `a${count}`, at), 'ok');
  await away.start();
  assert.equal(await stage.put(named('bob'), 'a1', follower), 'ok');
  assert.equal(await stage.put(named('bob'), 'b1', follower), DENIED);
  assert.equal(await stage.get(nobody, 'a1', follower), EMPTY);
  assert.equal(await stage.get(withToken(token), 'a1', follower, true), UNKNOWN_TOKEN, 'tokens are in memory only');
  assert.equal(new Set(await stage.hashes()).size, 1);

  for (const member of stage.cluster.members) {
    await member.kill();
    await member.start();
  }
  assert.equal(await stage.get(nobody, 'a1', 1), EMPTY);
  assert.equal(await stage.put(named('bob'), 'a1', 2), 'ok');
  const hashes = await stage.hashes();
  assert.deepEqual([hashes.length, new Set(hashes).size], [3, 1]);

  const file = join(folder(t), 'snapshot.db');
  await stage.cluster.snapshot(file);
  const { revision } = await stage.facts(0, 'bob');
  await stage.cluster.close();
  const restored = await Stage.start(t, { fromSnapshot: file });
  assert.deepEqual(await restored.facts(2, 'bob'), { enabled: true, hash: HASH_TEXT, noPassword: false, revision });
  assert.equal(await restored.get(nobody, 'a1', 1), EMPTY);
  assert.equal(await restored.put(named('bob'), 'a1', 2), 'ok');
  assert.equal(await restored.put(named('bob'), 'b1', 2), DENIED);
  assert.equal(new Set(await restored.hashes()).size, 1);
});
