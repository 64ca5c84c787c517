/**
 * Files that break one rule each, made by hand, and files with random damage: an error that names the place or the
 * right data, never a crash, and work that the length of the file bounds.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { checkDatabase } from '../../../src/snapshot/bbolt/checker.js';
import { Database } from '../../../src/snapshot/bbolt/database.js';
import { BboltError, encodeMetaPage, PageKind } from '../../../src/snapshot/bbolt/format.js';
import {
  bucketValue,
  type Content,
  contentOf,
  type HandPage,
  handMade,
  handPageSize,
  hexContent,
  MemorySource,
  problemsOf,
  writtenOf,
} from './support.js';

const leaf = (...keys: string[]): HandPage => ({
  kind: PageKind.Leaf,
  elements: keys.map(key => ({ key, value: `value of ${key}` })),
});
const branch = (...children: [key: string, child: number][]): HandPage => ({
  kind: PageKind.Branch,
  elements: children.map(([key, child]) => ({ key, child })),
});
const freelist = (...free: number[]): HandPage => ({ kind: PageKind.Freelist, free });
/** The root's leaf: buckets by name and root page. */
const buckets = (...roots: [name: string, root: number][]): HandPage => ({
  kind: PageKind.Leaf,
  elements: roots.map(([name, root]) => ({ key: name, value: bucketValue(root), flags: 1 })),
});

/** Page 2 is the root's leaf with the bucket `key` at page 3; what is given begins at page 3. */
const withTree = (...pages: (HandPage | undefined)[]) => handMade([buckets(['key', 3]), ...pages], { root: 2 });

const cases: Record<string, [file: Uint8Array, problems: readonly (string | RegExp)[]]> = {
  'a tree of two levels is fine': [withTree(branch(['a', 4], ['c', 5]), leaf('a', 'b'), leaf('c')), []],
  'without a stored freelist pages may be unreachable': [withTree(leaf('a'), undefined, undefined), []],
  'a free page is fine': [
    handMade([buckets(['key', 3]), leaf('a'), freelist(5), undefined], { root: 2, freelist: 4 }),
    [],
  ],
  'a page that is lost': [
    handMade([buckets(['key', 3]), leaf('a'), freelist(), undefined, undefined], { root: 2, freelist: 4 }),
    ['page 5 is neither free nor reachable, and so are 1 others'],
  ],
  'a page that is free and in use': [
    handMade([buckets(['key', 3]), leaf('a'), freelist(3)], { root: 2, freelist: 4 }),
    ['page 3 is free and in use'],
  ],
  'a meta page that is free': [
    handMade([buckets(['key', 3]), leaf('a'), freelist(1)], { root: 2, freelist: 4 }),
    [/free pages 1 and 1 do not ascend/],
  ],
  'free pages beyond the file': [
    handMade([buckets(['key', 3]), leaf('a'), freelist(9)], { root: 2, freelist: 4 }),
    ['page 4: the free page 9 is beyond 5 pages'],
  ],
  'a freelist longer than its page': [
    handMade([buckets(['key', 3]), leaf('a'), { ...freelist(), header: { count: 200 } }], { root: 2, freelist: 4 }),
    ['page 4: 200 free pages do not fit into it'],
  ],
  'a long freelist whose real count is absurd': [
    handMade([buckets(['key', 3]), leaf('a'), { ...freelist(2 ** 50), header: { count: 0xffff } }], {
      root: 2,
      freelist: 4,
    }),
    ['page 4: 1125899906842624 free pages do not fit into it'],
  ],
  'a freelist that counts in its first word is fine': [
    handMade(
      [buckets(['key', 3]), leaf('a'), { ...freelist(2, 5, 6), header: { count: 0xffff } }, undefined, undefined],
      {
        root: 2,
        freelist: 4,
      },
    ),
    [],
  ],
  'a leaf as freelist': [
    handMade([buckets(['key', 3]), leaf('a'), leaf('a')], { root: 2, freelist: 4 }),
    ['page 4: flags 2, expected a freelist'],
  ],
  'a branch that is its own child': [
    withTree(branch(['a', 3], ['b', 4]), leaf('b')),
    ['page 3 is used more than once'],
  ],
  'two branches in a circle': [withTree(branch(['a', 4]), branch(['a', 3])), ['page 3 is used more than once']],
  'a child that is shared': [withTree(branch(['a', 4], ['b', 4]), leaf('a')), ['page 4 is used more than once']],
  'two buckets in one tree': [
    handMade([buckets(['key', 3], ['lease', 3]), leaf('a')], { root: 2 }),
    ['page 3 is used more than once'],
  ],
  'the root as a bucket of itself': [handMade([buckets(['key', 2])], { root: 2 }), ['page 2 is used more than once']],
  'a chain deeper than any tree': [
    withTree(...Array.from({ length: 100 }, (_, at) => branch(['a', at + 4])), leaf('a')),
    [/the tree is deeper than 64 pages/],
  ],
  'an overflow into another page': [
    withTree(branch(['a', 4], ['b', 5]), { ...leaf('a'), header: { overflow: 1 } }, leaf('b')),
    ['page 5 is used more than once'],
  ],
  'an overflow beyond the file': [
    withTree({ ...leaf('a'), header: { overflow: 0xffffffff } }),
    ['page 3: 4294967295 overflow pages reach beyond the 4 pages'],
  ],
  'a child beyond the file': [withTree(branch(['a', 99])), ['page 99 is not one of the 4 pages']],
  'a child that is a meta page': [withTree(branch(['a', 1])), ['page 1 is not one of the 4 pages']],
  'a child beyond all numbers': [
    withTree(branch(['a', 2 ** 63])),
    [/^page 92233720368547\d+ is not one of the 4 pages/],
  ],
  'a header of another page': [withTree({ ...leaf('a'), header: { id: 9 } }), ['page 3: its header says page 9']],
  'flags of no page': [withTree({ kind: 3 }), ['page 3: flags 3, expected a branch or a leaf']],
  'more elements than fit': [
    withTree({ ...leaf('a'), header: { count: 64 } }),
    ['page 3: 64 elements do not fit into it'],
  ],
  'a branch without children': [withTree(branch()), ['page 3: a branch without children']],
  'an empty leaf below a branch': [
    withTree(branch(['a', 4], ['b', 5]), leaf('a'), leaf()),
    ['page 5: an empty leaf below a branch'],
  ],
  'keys in disorder': [withTree(leaf('a', 'c', 'b')), ['page 3: the keys of elements 1 and 2 do not ascend']],
  'a key twice': [withTree(leaf('a', 'a')), ['page 3: the keys of elements 0 and 1 do not ascend']],
  'branch keys in disorder': [
    withTree(branch(['b', 4], ['a', 5]), leaf('b'), leaf('a')),
    ['page 3: the keys of elements 0 and 1 do not ascend'],
  ],
  'a key below its branch': [
    withTree(branch(['a', 4], ['c', 5]), leaf('a'), leaf('b')),
    ["page 5: its first key is less than the parent's"],
  ],
  'a key of the next leaf': [
    withTree(branch(['a', 4], ['c', 5]), leaf('a', 'd'), leaf('e')),
    ["page 4: its last key belongs behind the next page's first"],
  ],
  'a key of the next leaf, two levels up': [
    withTree(branch(['a', 4], ['m', 5]), branch(['a', 6]), leaf('m'), leaf('a', 'z')),
    ["page 6: its last key belongs behind the next page's first"],
  ],
  'an element with an unknown flag': [
    withTree({ kind: PageKind.Leaf, elements: [{ key: 'a', flags: 2 }] }),
    ['page 3: element 0 has flags 2'],
  ],
  'an empty key': [withTree(leaf('')), ['page 3: element 0 has a key of 0 bytes']],
  'something else than a bucket in the root': [
    handMade([leaf('stray key\n')], { root: 2 }),
    ['page 2: stray\\x20key\\x0a is no bucket'],
  ],
  'a bucket with a short header': [
    handMade([{ kind: PageKind.Leaf, elements: [{ key: 'key', value: 'short', flags: 1 }] }], { root: 2 }),
    ['page 2: the bucket key has a header of 5 bytes'],
  ],
  'an inline bucket without a page': [
    handMade([buckets(['key', 0])], { root: 2 }),
    ['bucket key: an inline bucket of 0 bytes'],
  ],
  'an inline bucket whose page is none': [
    handMade([{ kind: PageKind.Leaf, elements: [{ key: 'key', value: new Uint8Array(32), flags: 1 }] }], { root: 2 }),
    ['bucket key: the page of an inline bucket is page 0, flags 0, overflow 0'],
  ],
  'several problems are told': [
    handMade([buckets(['a', 3], ['b', 9], ['c', 4], ['d', 5]), leaf('x', 'a'), leaf('fine'), leaf('y', 'b')], {
      root: 2,
    }),
    [
      'page 3: the keys of elements 0 and 1 do not ascend',
      'page 9 is not one of the 6 pages',
      'page 5: the keys of elements 0 and 1 do not ascend',
    ],
  ],
  'a root beyond the file': [handMade([leaf()], { root: 77 }), ['the root page 77 is not one of 3 pages']],
  'a freelist beyond the file': [
    handMade([leaf()], { root: 2, freelist: 77 }),
    ['the freelist page 77 is not one of 3 pages'],
  ],
  'more pages than the file has': [
    handMade([leaf()], { root: 2, highWater: 2 ** 40 }),
    ['the file is cut short: the database has 1099511627776 pages of 1024 bytes, the file 3072 bytes'],
  ],
  'no database': [new Uint8Array(8192), [/^not a bbolt database: page 0: no bbolt magic number, and no second/]],
  'an empty file': [new Uint8Array(0), [/^not a bbolt database: page 0: the file ends before it/]],
};

for (const [name, [file, expected]] of Object.entries(cases)) {
  test(name, () => {
    const problems = problemsOf(file);
    assert.equal(problems.length, expected.length, problems.join('\n'));
    expected.forEach((problem, at) => {
      if (typeof problem === 'string') assert.equal(problems[at], problem);
      else assert.match(problems[at] as string, problem);
    });
    const ofFreelist = problems.some(line => /free/.test(line)) && !/freelist page/.test(problems[0] as string);
    // The reader does not look at the freelist; everything else is an error for it too.
    if (problems.length === 0 || ofFreelist) assert.doesNotThrow(() => contentOf(file));
    else assert.throws(() => contentOf(file), BboltError);
  });
}

test('one damaged meta page: the other one counts, and the checker says so', () => {
  const content: Content = [['b', [['k', 'v']]]];
  const file = writtenOf(content);
  for (const page of [0, 1]) {
    const damaged = file.slice();
    damaged[page * 4096 + 40] = damaged[page * 4096 + 40]! ^ 1;
    assert.deepEqual(problemsOf(damaged), [`page ${page}: the checksum of the meta page does not hold`]);
    assert.deepEqual(contentOf(damaged), hexContent(content));
  }
  const both = file.slice();
  both[40] = 99;
  both[4096 + 40] = 99;
  assert.throws(() => contentOf(both), /not a bbolt database: page 0: the checksum/);
});

test('the meta page with the greater transaction counts', () => {
  const pages = [buckets(['old', 4]), buckets(['new', 4]), leaf('a')];
  const file = handMade(pages, { root: 2, txid: 2n ** 63n });
  file.set(
    encodeMetaPage(1, { pageSize: handPageSize, root: 3, freelist: undefined, highWater: 5, txid: 2n ** 63n + 1n }),
    handPageSize,
  );
  assert.equal(contentOf(file)[0]?.[0], Buffer.from('new').toString('hex'));
});

test('one value named by many elements is refused: a page never yields more than its bytes', () => {
  const file = withTree(leaf(...Array.from({ length: 20 }, (_, at) => `k${String(at).padStart(2, '0')}`)));
  const view = new DataView(file.buffer, 3 * handPageSize);
  // Element 1 is made to begin where element 0 does.
  view.setUint32(16 + 16 + 4, view.getUint32(16 + 4, true) - 16, true);
  assert.deepEqual(problemsOf(file), ['page 3: element 1 does not begin where the one before ends']);
});

test('buckets within buckets are walked, but not without end', () => {
  const chain = (depth: number): Uint8Array =>
    handMade([...Array.from({ length: depth }, (_, at) => buckets(['b', at + 3])), leaf('a')], { root: 2 });
  assert.deepEqual(problemsOf(chain(10)), []);
  assert.match(problemsOf(chain(40)).join('\n'), /more than 16 nested buckets/);
});

/** A database with trees of several levels, inline buckets, long values and a bucket of none. */
const rich: Content = [
  ['auth', [['authEnabled', '\u0000']]],
  ['empty', []],
  ['key', Array.from({ length: 600 }, (_, at) => [String(at).padStart(17, '0'), 'v'.repeat((at * 37) % 300)] as const)],
  ['long', [0, 1, 2].map(at => [`k${at}`, 'w'.repeat(900 * (at + 1))] as const)],
];

test('random damage: an error or the right data, and bounded work', () => {
  const sound = writtenOf(rich, { pageSize: 512 });
  const expected = hexContent(rich);
  const prng = new Prng(20_260);
  let refused = 0;
  for (let round = 0; round < 4000; round += 1) {
    const damaged = damage(sound, prng);
    const source = new MemorySource(damaged);
    const { problems } = checkDatabase(source);
    assert.ok(source.readBytes <= 4 * sound.length, `round ${round}: ${source.readBytes} bytes read`);
    if (problems.length > 0) refused += 1;
    for (const line of problems) assert.match(line, /^[\x20-\x7e…]{1,300}$/, 'one line for people');
    let content: ReturnType<typeof contentOf> | undefined;
    try {
      content = contentOf(damaged);
    } catch (error) {
      assert.ok(error instanceof BboltError, `round ${round}: ${error}`);
      assert.ok(problems.length > 0, `round ${round}: the checker finds what the reader finds`);
    }
    if (content === undefined) continue;
    // Keys and values carry no checksum: what passes has the shape of the original, but for the bytes themselves.
    if (problems.length === 0) assert.ok(content.length <= expected.length + 1);
  }
  assert.ok(refused > 1000, `${refused} of 4000 were refused`);
});

/** A few flipped bits, overwritten words, copied pages or a cut end; headers and elements are hit more than data. */
function damage(sound: Uint8Array, prng: Prng): Uint8Array {
  const bytes = sound.slice();
  const pages = bytes.length / 512;
  for (let times = 1 + prng.nextBelow(3); times > 0; times -= 1) {
    const page = prng.nextBelow(pages) * 512;
    const at = page + prng.nextBelow(prng.nextBelow(4) === 0 ? 512 : 64);
    const kind = prng.nextBelow(5);
    if (kind <= 1) bytes[at] = bytes[at]! ^ (1 << prng.nextBelow(8));
    else if (kind === 2) bytes[at] = [0, 1, 0xff, prng.nextBelow(256)][prng.nextBelow(4)] as number;
    else if (kind === 3) bytes.copyWithin(page, prng.nextBelow(pages) * 512, (prng.nextBelow(pages) + 1) * 512);
    else return bytes.slice(0, prng.nextBelow(bytes.length));
  }
  return bytes;
}

test('every truncation is refused', () => {
  const sound = writtenOf(rich, { pageSize: 512 });
  for (let length = 0; length < sound.length; length += 64) {
    const problems = problemsOf(sound.slice(0, length));
    assert.equal(problems.length, 1, `${length} bytes`);
    assert.match(problems[0] as string, /cut short|not a bbolt database/);
    assert.throws(() => Database.open(new MemorySource(sound.slice(0, length))), BboltError);
  }
});

test('hostile graphs: random pages of random kinds that name each other', () => {
  for (let seed = 1; seed <= 3000; seed += 1) {
    const prng = new Prng(seed);
    const count = 2 + prng.nextBelow(30);
    const pages = Array.from({ length: count }, (): HandPage => {
      const kind = prng.nextBelow(4);
      const children = Array.from({ length: 1 + prng.nextBelow(8) }, (_, at): [string, number] => [
        String.fromCharCode(97 + at * 3 + prng.nextBelow(4)),
        prng.nextBelow(count + 3),
      ]);
      const header = prng.nextBelow(10) === 0 ? { overflow: prng.nextBelow(4) } : {};
      if (kind === 0) return { ...leaf(...children.map(([key]) => key)), header };
      if (kind === 1) return { ...buckets(...children), header };
      return { ...branch(...children), header };
    });
    const file = handMade(pages, { root: 2 + prng.nextBelow(count) });
    const source = new MemorySource(file);
    const { problems } = checkDatabase(source);
    assert.ok(source.readBytes <= 4 * file.length, `seed ${seed}: ${source.readBytes} bytes read`);
    if (problems.length === 0) assert.doesNotThrow(() => contentOf(file));
  }
});
