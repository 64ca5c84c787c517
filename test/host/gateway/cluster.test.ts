/**
 * The gateway of a whole cluster beside that of a real etcd 3.4: the same requests, the answers compared. Of successes
 * the body, less ids, terms and sizes; of errors code and message (gateway v1 and v2 differ in the rest).
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { requireEtcd } from '../../support/etcd.js';
import { type Subject, startSubject } from '../../support/subject.js';
import { base64 } from './stage.js';

type Json = Record<string, unknown>;

let peer: Subject | undefined;
let own: Subject;

before(async () => {
  own = await startSubject('kvorum', { members: 1 });
});
after(async () => {
  await Promise.all([own.stop(), peer?.stop()]);
});

function url(subject: Subject, path: string): string {
  return `http://${subject.endpoints[0]}${path}`;
}

async function ask(subject: Subject, path: string, body: unknown): Promise<{ status: number; body: Json }> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(url(subject, path), { method: 'POST', body: text });
  return { status: response.status, body: (await response.json()) as Json };
}

/** The first `count` lines of a streamed answer; then the client goes. */
async function lines(subject: Subject, path: string, body: string, count: number): Promise<Json[]> {
  const abort = new AbortController();
  const response = await fetch(url(subject, path), { method: 'POST', body, signal: abort.signal });
  let text = '';
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    if (text.split('\n').length > count) break;
  }
  abort.abort();
  return text
    .split('\n')
    .slice(0, count)
    .map(line => JSON.parse(line) as Json);
}

const volatile: ReadonlySet<string> = new Set([
  ...['cluster_id', 'member_id', 'raft_term', 'memberID', 'leader', 'raftIndex', 'raftTerm', 'raftAppliedIndex'],
  ...['dbSize', 'dbSizeInUse', 'dbSizeQuota', 'version', 'storageVersion', 'downgradeInfo', 'hash'],
  ...['peerURLs', 'clientURLs', 'name'],
]);

/** What both should agree on. A key-value pair's version counts; a server's does not. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  const isPair = 'create_revision' in value;
  const kept = Object.entries(value).filter(([name]) => (isPair && name === 'version') || !volatile.has(name));
  return Object.fromEntries(kept.map(([name, inner]) => [name, comparable(inner)]));
}

const key = (text: string) => base64(text);
const put = (name: string, value: string, more: Json = {}) =>
  ['/v3/kv/put', { key: key(name), value: key(value), ...more }] as const;
const compare = { key: key('a'), result: 'EQUAL', target: 'VERSION' };

/** In this order, on fresh stores. */
const program: readonly (readonly [path: string, body: unknown])[] = [
  put('a', '1'),
  put('a', '<&>', { prev_kv: true }),
  put('b', '\u0000\u00ff'),
  ['/v3/kv/range', { key: key('a') }],
  ['/v3beta/kv/range', { key: key('a'), rangeEnd: key('z'), sort_order: 'DESCEND', sort_target: 'KEY', limit: '1' }],
  ['/v3/kv/range', { key: key('a'), range_end: 'AA==', count_only: true }],
  ['/v3/kv/range', { key: key('a'), revision: 2 }],
  ['/v3/kv/range', { key: key('a'), revision: '2', sort_order: 1, keys_only: true }],
  ['/v3/kv/range', `{"key":"${key('a')}","max_mod_revision":9007199254740993}`],
  ['/v3/kv/range', { key: key('nothing') }],
  [
    '/v3/kv/txn',
    {
      compare: [{ ...compare, version: '2' }],
      success: [{ request_put: { key: key('c'), value: key('3') } }, { requestRange: { key: key('b') } }],
      failure: [{ request_delete_range: { key: key('a') } }],
    },
  ],
  [
    '/v3/kv/txn',
    {
      compare: [{ ...compare, result: 'GREATER', target: 'MOD', mod_revision: 99 }],
      failure: [
        { request_delete_range: { key: key('a'), range_end: key('b'), prev_kv: true } },
        { request_txn: { success: [{ request_put: { key: key('d') } }] } },
      ],
    },
  ],
  ['/v3/kv/deleterange', { key: key('c'), prev_kv: true }],
  ['/v3/kv/deleterange', { key: key('c') }],
  ['/v3/kv/compaction', { revision: '4', physical: true }],
  ['/v3/kv/compaction', { revision: '4' }],
  ['/v3/kv/compaction', { revision: '400' }],
  ['/v3/kv/range', { key: key('a'), revision: 2 }],
  ['/v3/kv/range', { key: key('a'), revision: 99 }],
  ['/v3/kv/put', {}],
  ['/v3/kv/put', { key: key('a'), lease: 12345 }],
  ['/v3/kv/put', { key: key('new'), ignore_value: true }],
  ['/v3/maintenance/status', {}],
  ['/v3/lease/grant', { ID: '77', TTL: 600 }],
  ['/v3/lease/grant', { ID: '77', TTL: 600 }],
  put('leased', 'x', { lease: 77 }),
  ['/v3/kv/lease/timetolive', { ID: 77, keys: true }],
  ['/v3/lease/leases', {}],
  ['/v3/lease/revoke', { ID: 77 }],
  ['/v3/kv/lease/revoke', { ID: 77 }],
  ['/v3/lease/timetolive', { ID: 77 }],
];

describe('a cluster’s gateway', () => {
  it('answers as a real etcd’s does', async test => {
    if ((await requireEtcd(test, '3.4')) === undefined) return;
    peer = await startSubject('etcd-3.4', { members: 1 });
    for (const [path, request] of program) {
      const ours = await ask(own, path, request);
      const theirs = await ask(peer, path, request);
      const step = `${path} ${JSON.stringify(request)}`;
      assert.equal(ours.status === 200, theirs.status === 200, `${step}: ${JSON.stringify([ours, theirs])}`);
      if (ours.status === 200) {
        assert.deepEqual(comparable(ours.body), comparable(theirs.body), step);
      } else {
        const shape = ({ error, code, message }: Json) => ({ error, code, message });
        assert.deepEqual(ours.body, shape(theirs.body), step);
        // Gateway v1 had statuses of its own for these two.
        if (![412, 408].includes(theirs.status)) assert.equal(ours.status, theirs.status, step);
      }
    }
    const watch = `{"create_request":{"key":"${key('a')}","range_end":"${key('z')}","start_revision":"5","prev_kv":true}}`;
    const [ours, theirs] = await Promise.all([lines(own, '/v3/watch', watch, 2), lines(peer, '/v3/watch', watch, 2)]);
    assert.deepEqual(ours.map(comparable), theirs.map(comparable));
  });

  it('counts hashes, alarms and members', async () => {
    const hash = await ask(own, '/v3/maintenance/hashkv', {});
    assert.equal(hash.status, 200);
    assert.equal(typeof hash.body.hash, 'number');
    assert.deepEqual(Object.keys((await ask(own, '/v3/maintenance/alarm', { action: 'GET' })).body), ['header']);
    const raised = await ask(own, '/v3/maintenance/alarm', { action: 'ACTIVATE', alarm: 'NOSPACE', memberID: '5' });
    assert.deepEqual(raised.body.alarms, [{ memberID: '5', alarm: 'NOSPACE' }]);
    const health = await fetch(url(own, '/health'));
    assert.deepEqual([health.status, await health.text()], [503, '{"health":"false","reason":"ALARM NOSPACE"}\n']);
    await ask(own, '/v3/maintenance/alarm', { action: 'DEACTIVATE', alarm: 'NOSPACE', memberID: '5' });
    assert.equal((await fetch(url(own, '/health'))).status, 200);
    const { members } = (await ask(own, '/v3/cluster/member/list', {})).body as { members: Json[] };
    assert.equal(members[0]?.name, 'm1');
  });

  it('watches, cancels and asks for progress on one request stream', async () => {
    const requests = [
      `{"create_request":{"key":"${key('w')}","watch_id":"9"}}`,
      '{"progress_request":{}}',
      '{"cancel_request":{"watch_id":9}}',
    ];
    const [created, progress, cancelled] = (await lines(own, '/v3/watch', requests.join('\n'), 3)) as {
      result: Json;
    }[];
    assert.deepEqual([created?.result.created, created?.result.watch_id], [true, '9']);
    assert.deepEqual([progress?.result.watch_id, progress?.result.events], ['-1', undefined]);
    assert.deepEqual([cancelled?.result.canceled, cancelled?.result.watch_id], [true, '9']);
  });

  it('streams events as they happen, for as long as the client stays', async () => {
    const events = lines(own, '/v3/watch', `{"create_request":{"key":"${key('live')}"}}`, 4);
    // Whether the watch is there already does not matter: without a start revision the first events may be missed.
    const writing = new AbortController();
    const write = async (): Promise<void> => {
      for (let at = 0; !writing.signal.aborted; at++) {
        if (at % 2 === 0) await ask(own, ...put('live', String(at)));
        else await ask(own, '/v3/kv/deleterange', { key: key('live') });
      }
    };
    const written = write();
    const [created, ...rest] = (await events) as { result: Json }[];
    writing.abort();
    await written;
    assert.equal(created?.result.created, true);
    const types = rest.flatMap(line => (line.result.events as Json[]).map(event => event.type ?? 'PUT'));
    assert.ok(
      types.every((type, at) => at === 0 || type !== types[at - 1]),
      types.join(' '),
    );
  });

  it('keeps leases alive', async () => {
    await ask(own, '/v3/lease/grant', { ID: 5, TTL: 60 });
    const [alive] = (await lines(own, '/v3/lease/keepalive', '{"ID":5}', 1)) as { result: Json }[];
    assert.deepEqual([alive?.result.ID, alive?.result.TTL], ['5', '60']);
    const [gone] = (await lines(own, '/v3/lease/keepalive', '{"ID":6}', 1)) as { result: Json }[];
    assert.deepEqual([gone?.result.ID, gone?.result.TTL], ['6', undefined]);
  });
});
