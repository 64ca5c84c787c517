/**
 * Tokens of websockets, where browsers have no headers: `Sec-WebSocket-Protocol: Bearer, <token>`, on a cluster with
 * auth on, beside a real etcd. What a socket hears is compared frame by frame.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import type { Family } from '../../support/differential.js';
import { requireEtcd } from '../../support/etcd.js';
import { type Subject, startSubjects } from '../../support/subject.js';
import { base64 } from './stage.js';

type Json = Record<string, unknown>;

const families: readonly Family[] = ['etcd-3.5', 'kvorum'];

async function ask(subject: Subject, path: string, body: Json, token = ''): Promise<Json> {
  const headers = token === '' ? {} : { authorization: token };
  const response = await fetch(`http://${subject.endpoints[0]}/v3/${path}`, {
    ...{ method: 'POST', headers, body: JSON.stringify(body) },
  });
  return (await response.json()) as Json;
}

async function logIn(subject: Subject, name: string): Promise<string> {
  return (await ask(subject, 'auth/authenticate', { name, password: name })).token as string;
}

/** Users root and ann, who may read `mine/`; auth is on. */
async function prepare(subject: Subject): Promise<void> {
  for (const name of ['root', 'ann']) await ask(subject, 'auth/user/add', { name, password: name });
  for (const name of ['root', 'reads']) await ask(subject, 'auth/role/add', { name });
  const perm = { permType: 'READ', key: base64('mine/'), range_end: base64('mine0') };
  await ask(subject, 'auth/role/grant', { name: 'reads', perm });
  await ask(subject, 'auth/user/grant', { user: 'root', role: 'root' });
  await ask(subject, 'auth/user/grant', { user: 'ann', role: 'reads' });
  await ask(subject, 'auth/enable', {});
}

/** A socket, its frames without what differs between two clusters, and how to speak. */
class Line {
  readonly heard: Json[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<unknown>;

  constructor(subject: Subject, path: string, protocols: readonly string[], headers: Record<string, string> = {}) {
    this.socket = new WebSocket(`ws://${subject.endpoints[0]}/v3/${path}`, [...protocols], { headers });
    this.socket.on('message', data => this.heard.push(comparable(JSON.parse(String(data)) as Json)));
    this.closed = new Promise(resolve => this.socket.once('close', resolve).on('error', resolve));
  }

  async say(body: Json): Promise<this> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open');
    this.socket.send(JSON.stringify(body));
    return this;
  }

  /** The frames once there are so many, or no more of them can come. */
  async frames(count: number): Promise<Json[]> {
    while (this.heard.length < count && this.socket.readyState !== WebSocket.CLOSED) {
      await Promise.race([once(this.socket, 'message'), this.closed]);
    }
    return this.heard;
  }
}

function comparable({ result, error }: Json): Json {
  const { header: _, events, ...rest } = (result ?? {}) as Json;
  const { message, grpc_code: code } = (error ?? {}) as Json;
  const keys = (events as { kv: { key: string } }[] | undefined)?.map(({ kv }) => kv.key);
  return error === undefined ? { ...rest, ...(keys && { keys }) } : { message, code };
}

const watch = (key: string): Json => ({ create_request: { key: base64(key), range_end: base64(`${key}\u{7f}`) } });

/** The first frame that a watch hears, by who asks for it. */
async function firstFrames(subject: Subject): Promise<Record<string, Json | undefined>> {
  await prepare(subject);
  const ann = await logIn(subject, 'ann');
  const seen: Record<string, Json | undefined> = {};
  for (const [name, protocols, key] of [
    ['her own keys', ['Bearer', ann], 'mine/'],
    ['other keys', ['Bearer', ann], 'other/'],
    ['no token', [], 'mine/'],
    ['an unknown token', ['Bearer', 'nobodys.1'], 'mine/'],
    ['a cookie', [], 'mine/'],
  ] as const) {
    const line = new Line(subject, 'watch', protocols, name === 'a cookie' ? { cookie: `token=${ann}` } : {});
    await line.say(watch(key));
    [seen[name]] = await line.frames(1);
    line.socket.terminate();
  }
  return seen;
}

const refusal = (reason: string): Json => ({ watch_id: '-1', created: true, canceled: true, cancel_reason: reason });
const unknownToken = refusal('rpc error: code = Unauthenticated desc = etcdserver: invalid auth token');
const nobody = refusal('rpc error: code = InvalidArgument desc = etcdserver: user name is empty');

test('tokens among the protocols of a websocket say who asks', async (t: TestContext) => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  const subjects = await startSubjects(families, { members: 1 });
  t.after(() => Promise.all(subjects.map(subject => subject.stop())));
  const [theirs, ours] = await Promise.all(subjects.map(firstFrames));
  assert.deepEqual(ours, {
    'her own keys': { created: true },
    'other keys': refusal('rpc error: code = PermissionDenied desc = etcdserver: permission denied'),
    'no token': nobody,
    'an unknown token': unknownToken,
    'a cookie': nobody,
  });
  // etcd's gateway hands on `Bearer <token>` and its auth looks for a token of that name: nobody is let in this way. It
  // takes a cookie for the header, too, which any page of another site could send along; kvorum does not.
  assert.deepEqual(theirs, {
    'her own keys': unknownToken,
    'other keys': unknownToken,
    'no token': nobody,
    'an unknown token': unknownToken,
    'a cookie': unknownToken,
  });
  await lifeOf(subjects[1] as Subject);
});

/** A socket whose token ends while it is open. */
async function lifeOf(subject: Subject): Promise<void> {
  const [root, ann] = [await logIn(subject, 'root'), await logIn(subject, 'ann')];
  const put = (key: string) => ask(subject, 'kv/put', { key: base64(key), value: base64('v') }, root);
  const line = new Line(subject, 'watch', ['Bearer', ann]);
  await line.say(watch('mine/'));
  await line.frames(1);
  assert.equal(line.socket.protocol, 'Bearer');
  await put('mine/a');
  assert.deepEqual((await line.frames(2))[1], { keys: [base64('mine/a')] });
  // A new password ends her tokens: the watch that runs, and whatever is asked on the same socket.
  await ask(subject, 'auth/user/changepw', { name: 'ann', password: 'ann' }, root);
  const { cancel_reason: reason } = unknownToken;
  assert.deepEqual((await line.frames(3))[2], { canceled: true, cancel_reason: reason });
  await line.say(watch('mine/'));
  assert.deepEqual((await line.frames(4))[3], unknownToken);
  line.socket.terminate();

  const again = new Line(subject, 'watch', ['Bearer', await logIn(subject, 'ann')]);
  await again.say(watch('mine/'));
  assert.deepEqual(await again.frames(1), [{ created: true }]);
  await ask(subject, 'auth/user/revoke', { name: 'ann', role: 'reads' }, root);
  const [, cut] = await again.frames(2);
  assert.deepEqual(cut, {
    canceled: true,
    cancel_reason: 'rpc error: code = PermissionDenied desc = etcdserver: permission denied',
  });
  again.socket.terminate();
}
