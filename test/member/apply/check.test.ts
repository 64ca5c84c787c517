import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkDeleteRange,
  checkPut,
  checkRange,
  checkTxn,
  isReadOnly,
  isSerializable,
} from '../../../src/member/apply/check.js';
import { type EtcdErrorCode, etcdErrorName } from '../../../src/wire/errors.js';
import { decodeDeleteRangeRequest, decodePutRequest, decodeRangeRequest } from '../../../src/wire/kv.js';
import { decodeTxnRequest } from '../../../src/wire/txn.js';
import { bodyOf, fromKey, put, range, remove, txn } from '../../support/kv-requests.js';
import { describeMessage, type Message } from '../../support/messages.js';

const nameOf = (error: EtcdErrorCode | undefined): string => (error === undefined ? 'ok' : etcdErrorName(error));
const compareOf = (key: string): Message => ({ key: Buffer.from(key) });

function check(op: Message, opsMax = 128): string {
  const body = bodyOf(op);
  if ('request_range' in op) return nameOf(checkRange(decodeRangeRequest(body)));
  if ('request_put' in op) return nameOf(checkPut(decodePutRequest(body)));
  if ('request_delete_range' in op) return nameOf(checkDeleteRange(decodeDeleteRangeRequest(body)));
  return nameOf(checkTxn(decodeTxnRequest(body), opsMax));
}

test('single requests, and which of several errors comes first', () => {
  const cases: [Message, string][] = [
    [range(''), 'EmptyKey'],
    [range('', { sort_order: 9 }), 'EmptyKey'],
    [range('a', { sort_order: 3 }), 'InvalidSortOption'],
    [range('a', { sort_order: -1 }), 'InvalidSortOption'],
    [range('a', { sort_target: 5 }), 'InvalidSortOption'],
    [range('a', { sort_order: 2, sort_target: 4 }), 'ok'],
    [put(''), 'EmptyKey'],
    [put('', 'v', { ignore_value: true }), 'EmptyKey'],
    [put('a', 'v', { ignore_value: true, ignore_lease: true, lease: 1n }), 'ValueProvided'],
    [put('a', '', { ignore_value: true, ignore_lease: true, lease: -1n }), 'LeaseProvided'],
    [put('a', '', { ignore_value: true, ignore_lease: true }), 'ok'],
    [put('a', '', { lease: 5n }), 'ok'],
    [remove(''), 'EmptyKey'],
    [remove('', fromKey), 'EmptyKey'],
    [remove('a'), 'ok'],
  ];
  for (const [op, expected] of cases) assert.equal(check(op), expected, describeMessage(op));
});

test('transactions: number of operations, empty keys, operations that are none', () => {
  const reads = (count: number): Message[] => Array.from({ length: count }, () => range('a'));
  const compares = (count: number): Message[] => Array.from({ length: count }, () => compareOf('a'));
  const cases: [Message, number, string][] = [
    [txn([]), 0, 'ok'],
    [txn(reads(4), reads(4), compares(4)), 4, 'ok'],
    [txn(reads(5)), 4, 'TooManyOps'],
    [txn([], reads(5)), 4, 'TooManyOps'],
    [txn([], [], compares(5)), 4, 'TooManyOps'],
    [txn(reads(5), [], [compareOf('')]), 4, 'TooManyOps'],
    [txn([put('')], [], [compareOf('')]), 4, 'EmptyKey'],
    [txn([{}]), 4, 'KeyNotFound'],
    [txn([range(''), {}]), 4, 'EmptyKey'],
    [txn([{}, range('')]), 4, 'KeyNotFound'],
    [txn([range('a', { sort_target: 9 })]), 4, 'InvalidSortOption'],
    [txn([], [put('a', 'v', { ignore_value: true })]), 4, 'ValueProvided'],
    // A nested transaction may use what its parent leaves.
    [txn([txn(reads(3))]), 4, 'ok'],
    [txn([txn(reads(4))]), 4, 'TooManyOps'],
    [txn([txn([txn(reads(2))])]), 4, 'ok'],
    [txn([txn([txn(reads(3))])]), 4, 'TooManyOps'],
    [txn([range('a'), txn([range('')])]), 4, 'EmptyKey'],
  ];
  for (const [op, opsMax, expected] of cases) assert.equal(check(op, opsMax), expected, describeMessage(op));
});

test('transactions: what must not be written together', () => {
  const nested = (success: Message[], failure: Message[] = []): Message => txn(success, failure);
  const cases: [Message, string][] = [
    [txn([put('a'), put('a')]), 'DuplicateKey'],
    [txn([put('a')], [put('a')]), 'ok'],
    [txn([put('a'), remove('a')]), 'DuplicateKey'],
    [txn([remove('a'), put('a')]), 'DuplicateKey'],
    [txn([remove('a', 'c'), put('b')]), 'DuplicateKey'],
    [txn([remove('a', 'c'), put('c')]), 'ok'],
    [txn([remove('c', 'a'), put('b')]), 'ok'],
    [txn([remove('a', 'c'), remove('a'), remove('b', 'd')]), 'ok'],
    [txn([remove('a', 'm'), remove('k', 'z'), put('p')]), 'DuplicateKey'],
    [txn([remove('k', 'z'), remove('a', 'm'), put('p')]), 'DuplicateKey'],
    [txn([remove('a', 'c'), remove('e', 'g'), put('d')]), 'ok'],
    [txn([range('a'), put('a')]), 'ok'],
    [txn([nested([put('a')], [put('a')])]), 'ok'],
    [txn([nested([put('a'), put('a')])]), 'DuplicateKey'],
    [txn([nested([], [remove('a'), put('a')])]), 'DuplicateKey'],
    [txn([nested([put('a')]), put('a')]), 'DuplicateKey'],
    [txn([nested([], [put('a')]), put('a')]), 'DuplicateKey'],
    [txn([nested([put('a')]), nested([put('a')])]), 'DuplicateKey'],
    [txn([nested([put('a')]), nested([], [put('a')])]), 'DuplicateKey'],
    [txn([nested([put('a')]), remove('a')]), 'DuplicateKey'],
    [txn([nested([remove('a')]), put('a')]), 'DuplicateKey'],
    [txn([nested([put('a')], [remove('a')])]), 'ok'],
    [txn([nested([nested([put('a')])]), nested([nested([put('a')])])]), 'DuplicateKey'],
    // etcd's own gaps: members must not differ about what gets into the log.
    [txn([nested([remove('a')]), nested([put('a')])]), 'DuplicateKey'],
    [txn([nested([put('a')]), nested([remove('a')])]), 'ok'],
    [txn([remove('a', fromKey), put('b')]), 'ok'],
  ];
  for (const [op, expected] of cases) assert.equal(check(op), expected, describeMessage(op));
});

test('very many writes in one transaction are checked in a time that grows with their number only', () => {
  const many = 20_000;
  const key = (number: number): string => String(number).padStart(6, '0');
  const deletes = Array.from({ length: many }, (_, at) => remove(`d${key(at)}`));
  const puts = Array.from({ length: many }, (_, at) => put(`p${key(at)}`));
  assert.equal(check(txn([...deletes, ...puts]), 2 * many), 'ok');
  assert.equal(check(txn([...deletes, ...puts, put(`d${key(many - 1)}`)]), 2 * many + 1), 'DuplicateKey');
});

test('which transactions only read, and which of those are local', () => {
  const local = { serializable: true };
  const cases: [Message, boolean, boolean][] = [
    [txn([]), true, true],
    [txn([range('a')], [range('b')], [compareOf('a')]), true, false],
    [txn([range('a', local)], [range('b', local)]), true, true],
    [txn([range('a', local)], [range('b')]), true, false],
    [txn([put('a')]), false, false],
    [txn([], [remove('a')]), false, false],
    [txn([txn([range('a', local)])]), false, false],
  ];
  for (const [op, readOnly, serializable] of cases) {
    const request = decodeTxnRequest(bodyOf(op));
    assert.equal(isReadOnly(request), readOnly, describeMessage(op));
    assert.equal(isSerializable(request), serializable, describeMessage(op));
  }
});
