/**
 * The JSON mapping: transcripts of both directions, every message of the API there and back, and the reader's refusals.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { messageFromJson, messageToJson } from '../../../src/host/gateway/json.js';
import { JsonError } from '../../../src/host/gateway/json-reader.js';
import { JsonSplitter } from '../../../src/host/gateway/json-splitter.js';
import { methods } from '../../../src/wire/methods.js';
import { decode, encode, isMessageName, type MessageName } from '../../../src/wire/schema.js';
import { damaged, randomMessage } from '../../wire/random-message.js';

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

/** What a request's JSON means, as a decoded message without its zero values. */
function read(name: MessageName, json: string): Record<string, unknown> {
  const message = decode(name, messageFromJson(name, bytes(json))) as Record<string, unknown>;
  const isZero = (value: unknown) =>
    value === 0 || value === 0n || value === '' || value === false || (value as { length?: number }).length === 0;
  const kept = Object.entries(message).filter(([, value]) => !isZero(value));
  return Object.fromEntries(
    kept.map(([field, value]) => [field, value instanceof Uint8Array ? Buffer.from(value).toString() : value]),
  );
}

function refusal(name: MessageName, json: string): string {
  try {
    messageFromJson(name, bytes(json));
  } catch (error) {
    assert.ok(error instanceof JsonError, String(error));
    return error.message;
  }
  return assert.fail(`${json} was taken`);
}

const range = 'etcdserverpb.RangeRequest';
const put = 'etcdserverpb.PutRequest';

describe('messages as JSON', () => {
  it('uses proto names, strings for 64 bits, base64, enum names, and leaves zeros out', () => {
    const event = { type: 1, kv: { key: bytes('foo'), mod_revision: 2n ** 53n + 1n }, prev_kv: {} };
    const response = encode('etcdserverpb.WatchResponse', {
      header: { cluster_id: 2n ** 64n - 1n, revision: -1n },
      events: [event, { kv: { value: new Uint8Array([0xff, 0xfe, 0xfd]) } }],
      cancel_reason: 'a "quoted" word',
    });
    assert.equal(
      messageToJson('etcdserverpb.WatchResponse', response),
      '{"header":{"cluster_id":"18446744073709551615","revision":"-1"},"cancel_reason":"a \\"quoted\\" word",' +
        '"events":[{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"9007199254740993"},"prev_kv":{}},' +
        '{"kv":{"value":"//79"}}]}',
    );
    const hash = encode('etcdserverpb.HashKVResponse', { hash: 2 ** 32 - 1, compact_revision: -1n });
    assert.equal(messageToJson('etcdserverpb.HashKVResponse', hash), '{"hash":4294967295,"compact_revision":"-1"}');
    const member = encode('etcdserverpb.Member', { ID: 1n, peerURLs: ['http://a', ''], isLearner: true });
    assert.equal(
      messageToJson('etcdserverpb.Member', member),
      '{"ID":"1","peerURLs":["http://a",""],"isLearner":true}',
    );
  });

  it('writes a oneof member that is zero, and enum numbers without a name', () => {
    const compare = encode('etcdserverpb.Compare', { target: 9, version: 0n });
    assert.equal(messageToJson('etcdserverpb.Compare', compare), '{"target":9,"version":"0"}');
  });

  it('reads shared memory', () => {
    const plain = encode('mvccpb.KeyValue', { key: bytes('foo') });
    const shared = new Uint8Array(new SharedArrayBuffer(plain.length));
    shared.set(plain);
    assert.equal(messageToJson('mvccpb.KeyValue', shared), '{"key":"Zm9v"}');
  });

  it('takes every message of the API there and back', () => {
    const prng = new Prng(7);
    const names = new Set(
      methods.filter(info => !info.service.startsWith('grpc.')).flatMap(m => [m.request, m.response]),
    );
    for (const name of names) {
      assert.ok(isMessageName(name), name);
      for (let round = 0; round < 40; round++) {
        const message: Uint8Array = encode(name, randomMessage(prng, name, 3) as object);
        const json = messageToJson(name, message);
        assert.deepEqual(messageFromJson(name, bytes(json)), message, `${name} ${json}`);
        // Parsed and written again by somebody else, with the other names.
        const other = JSON.stringify(renamed(JSON.parse(json)), undefined, 2);
        assert.deepEqual(messageFromJson(name, bytes(other)), message, `${name} ${other}`);
      }
    }
    assert.ok(names.size > 80);
  });
});

/** All keys in lowerCamelCase. */
function renamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(renamed);
  if (typeof value !== 'object' || value === null) return value;
  const camel = (name: string) => name.replace(/_(.)/g, (_match, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [camel(name), renamed(inner)]));
}

describe('messages out of JSON', () => {
  it('takes both names of a field, and ignores what it does not know', () => {
    assert.deepEqual(read(range, '{"range_end":"Zm9v"}'), { range_end: 'foo' });
    assert.deepEqual(read(range, '{"rangeEnd":"Zm9v"}'), { range_end: 'foo' });
    const unknown = '{"nope":[{"a":[1,"x\\"]}",true,null]}], "key":"Zm9v" , "more":{"key":"YmFy"}}';
    assert.deepEqual(read(range, unknown), { key: 'foo' });
    assert.deepEqual(read(range, ' {} '), {});
    assert.deepEqual(read(range, '{"key":null,"limit":null,"sort_order":null}'), {});
  });

  it('keeps every digit of an integer', () => {
    for (const text of ['9007199254740993', '"9007199254740993"', '9.007199254740993e15', '90071992547409930e-1']) {
      assert.deepEqual(read(range, `{"revision":${text}}`), { revision: 9007199254740993n }, text);
    }
    assert.deepEqual(read(range, '{"revision":-9223372036854775808}'), { revision: -(2n ** 63n) });
    assert.deepEqual(read('etcdserverpb.MemberRemoveRequest', '{"ID":18446744073709551615}'), { ID: 2n ** 64n - 1n });
    assert.deepEqual(read(range, '{"limit":0e99}'), {});
    assert.deepEqual(read(range, '{"limit":1.0E+2}'), { limit: 100n });
  });

  it('refuses numbers that are no such integers', () => {
    for (const text of [
      '1.5',
      '9223372036854775808',
      '"12 "',
      '""',
      '"0x1"',
      'true',
      '[]',
      '{}',
      '1e400',
      `"${'9'.repeat(500)}"`,
    ]) {
      assert.match(refusal(range, `{"limit":${text}}`), /^proto: .*invalid value for int64 field limit/, text);
    }
    assert.match(refusal('etcdserverpb.MemberRemoveRequest', '{"ID":-1}'), /invalid value for uint64 field ID: -1$/);
  });

  it('takes base64 of both alphabets, padded or not', () => {
    const value = (text: string) => [
      ...decode(put, messageFromJson(put, bytes(JSON.stringify({ value: text })))).value,
    ];
    for (const text of ['+/8=', '+/8', '-_8=', '-_8', '+/\r\n8=\n']) assert.deepEqual(value(text), [0xfb, 0xff], text);
    assert.deepEqual(value(''), []);
    assert.deepEqual(value('YQ=='), [97]);
    for (const text of ['+_8=', 'YQ=', 'YQ===', 'Y', 'Y Q=', '=', 'YWJjZA=', 'é']) {
      assert.match(refusal(put, JSON.stringify({ value: text })), /invalid value for bytes field value/, text);
    }
    assert.match(refusal(put, '{"value":1}'), /^proto: \(line 1:10\): invalid value for bytes field value: 1$/);
  });

  it('takes enums by name and number, and ignores names nobody knows', () => {
    assert.deepEqual(read(range, '{"sort_order":"DESCEND","sort_target":2}'), { sort_order: 2, sort_target: 2 });
    assert.deepEqual(read(range, '{"sort_order":"descend","sort_target":"NOPE"}'), {});
    const filters = '{"filters":["NODELETE","NOPE",0,1]}';
    assert.deepEqual(read('etcdserverpb.WatchCreateRequest', filters), { filters: [1, 0, 1] });
    assert.match(refusal(range, '{"sort_order":1.5}'), /invalid value for enum field sort_order/);
  });

  it('refuses a field given twice and two members of a oneof', () => {
    assert.match(refusal(range, '{"range_end":"","rangeEnd":""}'), /duplicate field "rangeEnd"/);
    const two = '{"request_put":{},"requestRange":{}}';
    assert.match(refusal('etcdserverpb.RequestOp', two), /oneof etcdserverpb\.RequestOp\.request is already set/);
    assert.deepEqual(read('etcdserverpb.Compare', '{"version":null,"lease":"5"}'), { lease: 5n });
  });

  it('refuses what is no JSON, and says where', () => {
    const flaws: readonly (readonly [string, RegExp])[] = [
      ['{"key":foo}', /^proto: syntax error \(line 1:8\): unexpected token foo$/],
      ['{\n "key": "" x}', /^proto: syntax error \(line 2:12\): unexpected token x$/],
      ['[]', /unexpected token \[/],
      ['null', /unexpected token null/],
      ['{"key":"",}', /unexpected token }/],
      ['{,}', /unexpected token ,/],
      ['{"limit":01}', /unexpected token 1/],
      ['{"limit":-}', /unexpected token -/],
      ['{"limit":.5}', /unexpected token .5/],
      ['{key:"a"}', /unexpected token key/],
      ['{"key" "a"}', /unexpected token "/],
      ['{"key":""} {}', /unexpected token {/],
      ['{"key":""]', /unexpected token ]/],
      ['{"key":"a\tb"}', /invalid character or escape in string/],
      ['{"key":"\\x"}', /invalid character or escape in string/],
      ['{"nope":"\\ud800"}', /invalid character or escape in string/],
      ['{"nope":nul}', /unexpected token nul/],
      ['{"nope":"\\', /unexpected EOF/],
      ['{"nope":"', /unexpected EOF/],
      ['{"nope":', /unexpected EOF/],
      ['{', /unexpected EOF/],
    ];
    for (const [json, expected] of flaws) assert.match(refusal(put, json), expected, json);
    assert.throws(() => messageFromJson(put, new Uint8Array([0x7b, 0xff, 0x7d])), /invalid UTF-8/);
    assert.match(refusal('etcdserverpb.MemberAddRequest', '{"peerURLs":[null]}'), /invalid value for string field/);
    assert.match(refusal('etcdserverpb.MemberAddRequest', '{"peerURLs":"a"}'), /unexpected token/);
    assert.match(refusal('etcdserverpb.MemberAddRequest', '{"isLearner":"true"}'), /invalid value for bool field/);
  });

  it('refuses nesting without end, in what it knows and in what it skips', () => {
    const nested = (depth: number, key: string) => `${`{"${key}":[`.repeat(depth)}${']}'.repeat(depth)}`;
    assert.match(refusal(range, nested(20_000, 'nope')), /exceeded maximum recursion depth/);
    const txn = (depth: number) => `${'{"success":[{"request_txn":'.repeat(depth)}{}${'}]}'.repeat(depth)}`;
    assert.match(refusal('etcdserverpb.TxnRequest', txn(20_000)), /exceeded maximum recursion depth/);
    assert.ok(messageFromJson('etcdserverpb.TxnRequest', bytes(txn(300))).length > 0);
  });

  it('takes nothing that is no JSON, and fails in no other way than its own', () => {
    const prng = new Prng(11);
    let refused = 0;
    for (let round = 0; round < 4_000; round++) {
      const name = round % 2 === 0 ? 'etcdserverpb.TxnRequest' : 'etcdserverpb.WatchRequest';
      const message: Uint8Array = encode(name, randomMessage(prng, name, 3) as object);
      const json = damaged(prng, bytes(messageToJson(name, message)));
      let isTaken = true;
      try {
        messageFromJson(name, json);
      } catch (error) {
        assert.ok(error instanceof JsonError, `${Buffer.from(json)}: ${error}`);
        isTaken = false;
        refused += 1;
      }
      if (isTaken) assert.doesNotThrow(() => JSON.parse(Buffer.from(json).toString()), Buffer.from(json).toString());
    }
    assert.ok(refused > 1_000 && refused < 4_000);
  });

  it('writes fields by number, whatever their order in the text', () => {
    const json = '{"failure":[{"request_put":{"value":"YQ==","key":"Yg=="}}],"compare":[{"key":"Yg==","version":"1"}]}';
    assert.deepEqual(
      messageFromJson('etcdserverpb.TxnRequest', bytes(json)),
      encode('etcdserverpb.TxnRequest', {
        compare: [{ key: bytes('b'), version: 1n }],
        failure: [{ request_put: { key: bytes('b'), value: bytes('a') } }],
      }),
    );
  });
});

describe('objects out of a body', () => {
  class Sink {
    readonly heard: string[] = [];
    onObject(object: Uint8Array): boolean {
      this.heard.push(Buffer.from(object).toString());
      return true;
    }
    onTooLarge(length: number): void {
      this.heard.push(`too large: ${length}`);
    }
    onTooMany(marks: number): void {
      this.heard.push(`too many: ${marks}`);
    }
    onOther(character: string): void {
      this.heard.push(`other: ${character}`);
    }
  }

  it('finds them however the body is cut', () => {
    const objects = ['{}', '{"a":"}]\\"{\\\\"}', '{"b":[{"c":[]},"ü{"]}', '{"d":{"e":{}}}'];
    const body = bytes(`\n${objects.join(' \r\n')}{}\t`);
    for (let size = 1; size <= body.length; size++) {
      const sink = new Sink();
      const splitter = new JsonSplitter(1_000);
      for (let at = 0; at < body.length; at += size) splitter.read(body.slice(at, at + size), sink);
      assert.deepEqual(sink.heard, [...objects, '{}'], `pieces of ${size}`);
      assert.equal(splitter.midObject, false);
    }
  });

  it('holds an unfinished one in as much memory as it has bytes', () => {
    const piece = Buffer.allocUnsafeSlow(8 * 1024).fill('x');
    const splitter = new JsonSplitter(8_000_000);
    splitter.read(bytes('{"a":"'), new Sink());
    const before = process.memoryUsage().arrayBuffers;
    for (let at = 0; at < 500; at++) splitter.read(piece, new Sink());
    const grownBytes = process.memoryUsage().arrayBuffers - before;
    assert.ok(grownBytes < 500 * piece.length + 32 * 1024, `${grownBytes} bytes, garbage included`);
  });

  it('stops at anything else, and at an object that is too long', () => {
    const other = new Sink();
    new JsonSplitter(100).read(bytes('{} 5 {}'), other);
    assert.deepEqual(other.heard, ['{}', 'other: 5']);
    const large = new Sink();
    const splitter = new JsonSplitter(10);
    splitter.read(bytes('{"a":1}{"aaa'), large);
    assert.equal(splitter.midObject, true);
    splitter.read(bytes('aaaaaa":1}'), large);
    assert.deepEqual(large.heard, ['{"a":1}', 'too large: 15']);
  });

  it('stops at an object that would take long to read, but not at a long string', () => {
    const sink = new Sink();
    const splitter = new JsonSplitter(1_000_000);
    const most = `{"a":[0${',0'.repeat(32_765)}]}`;
    const long = `{"a":"${',[{:'.repeat(100_000)}"}`;
    for (const object of [most, long, most]) splitter.read(bytes(object), sink);
    assert.deepEqual(sink.heard, [most, long, most]);
    splitter.read(bytes(`{"a":[0,0${',0'.repeat(32_765)}`), sink);
    assert.deepEqual(sink.heard.slice(3), ['too many: 32768']);
  });
});
