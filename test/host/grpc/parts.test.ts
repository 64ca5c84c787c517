/**
 * The small parts of the gRPC layer: timeouts, deadlines, message framing, status texts, request heads.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { type DeadlineEntry, Deadlines } from '../../../src/host/grpc/deadlines.js';
import { HeldBytes } from '../../../src/host/grpc/held-bytes.js';
import { MessageReader } from '../../../src/host/grpc/message-reader.js';
import { readHead } from '../../../src/host/grpc/request.js';
import { percentEncode } from '../../../src/host/grpc/status.js';
import { parseTimeout } from '../../../src/host/grpc/timeout.js';
import { HeaderSet } from '../../../src/host/http2/hpack/encoder.js';
import { HeaderField } from '../../../src/host/http2/hpack/field.js';
import type { RequestHead } from '../../../src/host/http2/request-head.js';

function head(fields: readonly (readonly [string, string])[], method = 'POST'): RequestHead {
  const list = fields.map(([name, value]) => new HeaderField(name, value));
  return { method, scheme: 'http', path: '/a.B/C', authority: '', fields: list, contentLength: -1, memo: undefined };
}

it('reads grpc-timeout in all its units', () => {
  for (const [value, ms] of [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3_000],
    ['250m', 250],
    ['1500u', 1.5],
    ['99999999n', 99.999999],
    ['0m', 0],
  ] as const) {
    assert.equal(parseTimeout(value), ms);
  }
  for (const [value, error] of [
    ['', 'transport: timeout string is too short: ""'],
    ['S', 'transport: timeout string is too short: "S"'],
    ['123456789S', 'transport: timeout string is too long: "123456789S"'],
    ['5x', 'transport: timeout unit is not recognized: "5x"'],
    ['-5S', 'strconv.ParseInt: parsing "-5": invalid syntax'],
  ] as const) {
    assert.deepEqual(parseTimeout(value), { error });
  }
});

class Entry implements DeadlineEntry {
  deadlineTick = 0;
  deadlineNext: DeadlineEntry | undefined = undefined;
  deadlinePrevious: DeadlineEntry | undefined = undefined;
  passedMs = -1;
  constructor(
    readonly clock: { nowMs: number },
    readonly then: () => void = () => {},
  ) {}

  deadlinePassed(): void {
    assert.equal(this.passedMs, -1, 'fired twice');
    this.passedMs = this.clock.nowMs;
    this.then();
  }
}

describe('the deadline wheel', () => {
  it('fires each entry once, never early and at most a tick late, whatever is removed meanwhile', () => {
    const prng = new Prng(7);
    const clock = { nowMs: 123_456 };
    const wheel = new Deadlines(10, clock.nowMs);
    const entries: { entry: Entry; dueMs: number; removed: boolean }[] = [];
    for (let step = 0; step < 5_000; step += 1) {
      clock.nowMs += prng.nextBelow(12);
      if (prng.nextBelow(3) === 0) {
        const dueMs = clock.nowMs + prng.nextBelow(prng.nextBelow(5) === 0 ? 40_000 : 300);
        const entry = new Entry(clock);
        wheel.add(entry, dueMs);
        entries.push({ entry, dueMs, removed: false });
      }
      const victim = entries[prng.nextBelow(Math.max(1, entries.length))];
      if (victim !== undefined && victim.entry.passedMs === -1 && prng.nextBelow(4) === 0) {
        wheel.remove(victim.entry);
        victim.removed = true;
      }
      wheel.advance(clock.nowMs);
    }
    clock.nowMs += 100_000;
    wheel.advance(clock.nowMs);
    assert.equal(wheel.size, 0);
    for (const { entry, dueMs, removed } of entries) {
      if (removed) assert.equal(entry.passedMs, -1);
      else if (entry.passedMs !== clock.nowMs) {
        assert.ok(entry.passedMs >= dueMs && entry.passedMs <= dueMs + 32, `due ${dueMs}, fired ${entry.passedMs}`);
      }
    }
  });

  it('lets an entry take out or add another while it fires', () => {
    const clock = { nowMs: 0 };
    const wheel = new Deadlines(10, 0);
    const victim = new Entry(clock);
    const late = new Entry(clock);
    const act = () => {
      if (victim.passedMs === -1) wheel.remove(victim);
      wheel.add(late, clock.nowMs);
    };
    wheel.add(victim, 50);
    wheel.add(new Entry(clock, act), 50); // newest first: it fires before the victim
    clock.nowMs = 60;
    wheel.advance(60);
    assert.deepEqual([victim.passedMs, late.passedMs, wheel.size], [-1, -1, 1]);
    clock.nowMs = 70;
    wheel.advance(70);
    assert.equal(late.passedMs, 70);
  });
});

describe('message framing', () => {
  const framed = (flag: number, message: number[]) => [
    flag,
    0,
    0,
    message.length >> 8,
    message.length & 255,
    ...message,
  ];

  it('finds the same messages wherever the bytes are cut', () => {
    const messages = [[], [1], [2, 3], Array.from({ length: 300 }, (_, index) => index & 255), []];
    const bytes = Uint8Array.from(messages.flatMap((message, index) => framed(index & 1, message)));
    for (let size = 1; size <= bytes.length; size += 1) {
      const reader = new MessageReader(1_000, new HeldBytes(1_000));
      const found: [number, number[]][] = [];
      for (let at = 0; at < bytes.length; at += size) {
        reader.read(bytes, at, Math.min(at + size, bytes.length), {
          onMessage: (flag, source, from, to) => found.push([flag, [...source.subarray(from, to)]]) > 0,
          onTooLarge: () => assert.fail(),
          onNoRoom: () => assert.fail(),
        });
      }
      assert.deepEqual(
        found,
        messages.map((message, index) => [index & 1, message]),
        `chunks of ${size}`,
      );
      assert.equal(reader.midMessage, false);
    }
  });

  it('refuses a length above the limit by its prefix alone, cut or not', () => {
    for (const size of [1, 5]) {
      const reader = new MessageReader(100, new HeldBytes(100));
      const bytes = Uint8Array.of(0, 255, 255, 255, 255);
      const lengths: number[] = [];
      for (let at = 0; at < 5; at += size) {
        reader.read(bytes, at, at + size, {
          onMessage: () => assert.fail(),
          onTooLarge: length => lengths.push(length),
          onNoRoom: () => assert.fail(),
        });
      }
      assert.deepEqual(lengths, [4_294_967_295]);
    }
  });

  it('says what it holds, and what that misses', () => {
    const reader = new MessageReader(1_000, new HeldBytes(1_000));
    const sink = { onMessage: () => true, onTooLarge: () => assert.fail(), onNoRoom: () => assert.fail() };
    const two = Uint8Array.from([...framed(0, new Array<number>(300).fill(1)), ...framed(0, [2, 3])]);
    const said = [0, 2, 5, 100, 303, 305, 307, 310, 312].map((to, index, cuts) => {
      reader.read(two, cuts[index - 1] ?? 0, to, sink);
      return [reader.heldBytes, reader.missingBytes];
    });
    assert.deepEqual(said, [
      [0, 0],
      [2, 3],
      [5, 300],
      [100, 205],
      [303, 2],
      [0, 0],
      [2, 3],
      [5, 2],
      [0, 0],
    ]);
    reader.read(two, 0, 100, sink);
    reader.drop();
    assert.deepEqual([reader.heldBytes, reader.missingBytes], [0, 0]);
  });

  const mib = 1024 * 1024;
  const nothing = new Uint8Array(0);
  const grown = (account: HeldBytes, bytes: number): Uint8Array => {
    const buffer = account.grow(nothing, 0, bytes);
    assert.ok(buffer !== undefined && buffer.length >= bytes, `room for ${bytes} bytes`);
    return buffer;
  };

  it('holds what the account has room for, and gives the room back', () => {
    const account = new HeldBytes(2 * mib);
    let refused = 0;
    const sink = { onMessage: () => true, onTooLarge: () => assert.fail(), onNoRoom: () => void refused++ };
    const begun = new Uint8Array(2 * mib - 100);
    begun.set([0, 0, 32, 0, 0]); // a message of 2 MiB
    const rest = new Uint8Array(105);
    const readers = Array.from({ length: 200 }, () => new MessageReader(2 * mib, account));
    for (const reader of readers) reader.read(begun, 0, begun.length, sink);
    assert.equal(refused, 72, 'with their prefixes 128 of them have room');
    readers[0]?.read(rest, 0, rest.length, sink);
    readers[1]?.drop();
    for (const reader of [new MessageReader(2 * mib, account), new MessageReader(2 * mib, account)]) {
      reader.read(begun, 0, begun.length, sink);
      readers.push(reader);
    }
    assert.equal(refused, 72);
    for (const reader of readers) reader.drop();
    account.release(grown(account, 258 * mib));
  });

  it('leaves every connection a share, whatever the others hold', () => {
    const greedy = [new HeldBytes(mib), new HeldBytes(mib)].map(account => ({
      account,
      all: grown(account, 256 * mib),
    }));
    const modest = new HeldBytes(mib);
    const share = grown(modest, 4 * mib);
    assert.equal(modest.grow(nothing, 0, 1), undefined);
    modest.release(share);
    for (const { account, all } of greedy) account.release(all);
  });

  it('has room for one message of any size', () => {
    const account = new HeldBytes(700 * mib);
    account.release(grown(account, 700 * mib));
  });

  it('uses a buffer again that nobody has seen, and no other', () => {
    const account = new HeldBytes(2 * mib);
    const first = grown(account, mib);
    account.abandon(first);
    const second = grown(account, mib - 100_000);
    assert.equal(second, first);
    account.release(second);
    assert.notEqual(grown(account, mib), first);
    second.fill(7);
    const larger = account.grow(second, 10, 2 * mib);
    assert.deepEqual([...larger!.subarray(0, 10)], new Array<number>(10).fill(7));
    assert.equal(grown(account, mib), second, 'what grew leaves its buffer behind');
  });

  it('reads no further when the sink says so', () => {
    const reader = new MessageReader(100, new HeldBytes(100));
    let messages = 0;
    reader.read(Uint8Array.from([...framed(0, [1]), ...framed(0, [2])]), 0, 12, {
      onMessage: () => ++messages === 0,
      onTooLarge: () => assert.fail(),
      onNoRoom: () => assert.fail(),
    });
    assert.equal(messages, 1);
    assert.equal(reader.midMessage, false);
  });
});

it('percent-encodes status texts', () => {
  for (const [text, encoded] of [
    ['etcdserver: key is not provided', 'etcdserver: key is not provided'],
    ['100%', '100%25'],
    ['ä\n', '%C3%A4%0A'],
    ['\u{1f600}', '%F0%9F%98%80'],
    [' edges ', '%20edges%20'],
    [' ', '%20'],
    ['\x7f', '%7F'],
  ] as const) {
    assert.equal(percentEncode(text), encoded);
    assert.equal(decodeURIComponent(encoded), text);
  }
  assert.ok(percentEncode('ä'.repeat(100_000)).length <= 6 * 2_048);
});

describe('request heads', () => {
  const refusal = (set: unknown): Record<string, string> => {
    assert.ok(set instanceof HeaderSet);
    return Object.fromEntries(set.fields.map(({ field }) => [field.name, field.value]));
  };

  it('are asked once and shared', () => {
    const shared = head([['content-type', 'application/grpc']]);
    assert.equal(readHead(shared), readHead(shared));
  });

  it('are gRPC by their content type and method', () => {
    for (const type of [
      'application/grpc',
      'application/grpc+proto',
      'application/grpc;charset=utf-8',
      'Application/gRPC',
    ]) {
      assert.ok(!(readHead(head([['content-type', type]])) instanceof HeaderSet), type);
    }
    for (const type of ['application/grpcx', 'application/json', '']) {
      const fields = refusal(readHead(head([['content-type', type]])));
      assert.equal(fields[':status'], '415', type);
    }
    assert.equal(refusal(readHead(head([])))[':status'], '415');
    const wrong = refusal(readHead(head([['content-type', 'application/grpc']], 'GET')));
    assert.equal(wrong[':status'], '405');
    assert.equal(wrong['grpc-message'], 'Received a HEADERS frame with :method "GET" which should be POST');
  });

  it('may not name an unknown compression or a broken timeout', () => {
    const encoding = refusal(
      readHead(
        head([
          ['content-type', 'application/grpc'],
          ['grpc-encoding', 'snappy'],
        ]),
      ),
    );
    assert.equal(encoding['grpc-status'], '12');
    assert.equal(encoding['grpc-message'], 'grpc: Decompressor is not installed for grpc-encoding "snappy"');
    assert.equal(encoding['grpc-accept-encoding'], 'identity,gzip');
    const timeout = refusal(
      readHead(
        head([
          ['content-type', 'application/grpc'],
          ['grpc-timeout', '5x'],
        ]),
      ),
    );
    assert.deepEqual([timeout[':status'], timeout['grpc-status']], ['400', '13']);
  });

  it('give metadata as it is asked for', () => {
    const call = readHead(
      head([
        ['content-type', 'application/grpc'],
        ['token', 'a'],
        ['token', 'b'],
        ['trace-bin', 'AAECAw'],
        ['other-bin', 'AAEC,Aw=='],
        ['broken-bin', 'A!'],
        ['octets', '\xe4\xff'],
      ]),
    );
    assert.ok(!(call instanceof HeaderSet));
    const { metadata } = call;
    assert.equal(metadata.get('token'), 'a');
    assert.equal(metadata.get('none'), undefined);
    assert.deepEqual(metadata.getAll('token'), ['a', 'b']);
    assert.deepEqual([...metadata.getBytes('trace-bin')!], [0, 1, 2, 3]);
    assert.deepEqual([...metadata.getBytes('other-bin')!], [0, 1, 2]);
    assert.equal(metadata.getBytes('broken-bin'), undefined);
    assert.equal(metadata.getBytes('none-bin'), undefined);
    assert.deepEqual([...metadata.getBytes('octets')!], [0xe4, 0xff]);
    assert.deepEqual(metadata.names().slice(0, 3), ['content-type', 'token', 'trace-bin']);
  });
});
