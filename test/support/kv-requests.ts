/** Short ways to write KV requests and to read their answers in tests. */
import assert from 'node:assert/strict';
import type { Reply } from '../../src/member/apply/reply.js';
import { etcdErrorName } from '../../src/wire/errors.js';
import type { KvSubject, SubjectStore } from './kv-subject.js';
import { decodeMessage, encodeMessage, type Message } from './messages.js';

export const fromKey = Buffer.from([0]);

export const put = (key: string, value = 'v', more: Message = {}): Message => ({
  request_put: { key: Buffer.from(key, 'latin1'), value: Buffer.from(value, 'latin1'), ...more },
});
export const remove = (key: string, end: string | Buffer = '', more: Message = {}): Message => ({
  request_delete_range: { key: Buffer.from(key, 'latin1'), range_end: Buffer.from(end as string, 'latin1'), ...more },
});
export const range = (key: string, more: Message = {}): Message => ({
  request_range: { key: Buffer.from(key, 'latin1'), ...more },
});
export const txn = (
  success: readonly Message[],
  failure: readonly Message[] = [],
  compare: readonly Message[] = [],
): Message => ({
  request_txn: { compare, success, failure },
});

const calls = {
  request_put: ['Put', 'PutRequest', 'PutResponse'],
  request_delete_range: ['DeleteRange', 'DeleteRangeRequest', 'DeleteRangeResponse'],
  request_range: ['Range', 'RangeRequest', 'RangeResponse'],
  request_txn: ['Txn', 'TxnRequest', 'TxnResponse'],
} as const;

/** A request's body. */
export function bodyOf(op: Message): Buffer {
  const [[member, request]] = Object.entries(op) as [[keyof typeof calls, Message]];
  return encodeMessage(calls[member][1], request);
}

/** Executes an operation written with the functions above: the decoded response, or the error's name. */
export function run<Store extends SubjectStore>(subject: KvSubject<Store>, op: Message): Message | string {
  const member = Object.keys(op)[0] as keyof typeof calls;
  const [method, , response] = calls[member];
  const reply = subject.execute(method, bodyOf(op));
  assert.ok(reply !== undefined, 'a wanted request is answered');
  return read(reply, response);
}

export function read(reply: Reply, response: string): Message | string {
  if ('error' in reply) return etcdErrorName(reply.error);
  assert.ok('ok' in reply, 'the answer is not put off');
  return decodeMessage(response, reply.ok);
}

/** Keys of a range's answer, or the error. */
export function keysOf(answer: Message | string): string {
  if (typeof answer === 'string') return answer;
  return (answer.kvs as Message[]).map(({ key }) => Buffer.from(key as Buffer).toString('latin1')).join(' ');
}

/** The revision in an answer's header. */
export function revisionOf(answer: Message | string): number {
  assert.ok(typeof answer !== 'string', `an answer, not ${String(answer)}`);
  return Number((answer.header as Message).revision);
}

export function compact<Store extends SubjectStore>(
  subject: KvSubject<Store>,
  revision: number,
  physical = false,
): Reply | undefined {
  return subject.execute('Compact', encodeMessage('CompactionRequest', { revision: BigInt(revision), physical }));
}
