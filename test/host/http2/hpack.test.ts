/**
 * HPACK against the examples of RFC 7541 appendix C, and against what must not be accepted (§2.3.3, §4.2, §5, §6).
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Decoder } from '../../../src/host/http2/hpack/decoder.js';
import { DynamicTable } from '../../../src/host/http2/hpack/dynamic-table.js';
import { Encoder, HeaderSet } from '../../../src/host/http2/hpack/encoder.js';
import { HeaderField } from '../../../src/host/http2/hpack/field.js';
import { staticTable, staticTableLength } from '../../../src/host/http2/hpack/static-table.js';
import { hex, literal } from './peer.js';

/** A block, the fields it stands for, and the table behind it, newest first, with its size. */
interface Example {
  readonly name: string;
  readonly block: string;
  readonly fields: string[];
  readonly table: string[];
  readonly tableBytes: number;
}

function decode(decoder: Decoder, bytes: Uint8Array): string[] | string {
  const fields: string[] = [];
  const error = decoder.decode(bytes, 0, bytes.length, { field: f => fields.push(`${f.name}: ${f.value}`) });
  return error ?? fields;
}

function run(decoder: Decoder, examples: readonly Example[]): void {
  for (const { name, block, fields, table, tableBytes } of examples) {
    assert.deepEqual(decode(decoder, hex(block)), fields, name);
    assert.deepEqual(
      decoder.tableFields().map(f => `${f.name}: ${f.value}`),
      table,
      `${name}: table`,
    );
    assert.equal(decoder.tableSizeBytes, tableBytes, `${name}: table size`);
  }
}

const custom = 'custom-key: custom-value';
const noCache = 'cache-control: no-cache';
const authority = ':authority: www.example.com';
const get = [':method: GET', ':scheme: http', ':path: /'];
const requestTables = [[authority], [noCache, authority], [custom, noCache, authority]];
const requestFields = [
  [...get, authority],
  [...get, authority, noCache],
  [':method: GET', ':scheme: https', ':path: /index.html', authority, custom],
];
const privately = 'cache-control: private';
const date21 = 'date: Mon, 21 Oct 2013 20:13:21 GMT';
const date22 = 'date: Mon, 21 Oct 2013 20:13:22 GMT';
const location = 'location: https://www.example.com';
const cookie = 'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1';
const responseFields = [
  [':status: 302', privately, date21, location],
  [':status: 307', privately, date21, location],
  [':status: 200', privately, date22, location, 'content-encoding: gzip', cookie],
];
const responseTables = [
  [location, date21, privately, ':status: 302'],
  [':status: 307', location, date21, privately],
  [cookie, 'content-encoding: gzip', date22],
];

function story(section: string, blocks: string[], fields: string[][], tables: string[][], sizes: number[]): Example[] {
  return blocks.map((block, index) => ({
    name: `${section}.${index + 1}`,
    block,
    fields: fields[index]!,
    table: tables[index]!,
    tableBytes: sizes[index]!,
  }));
}

describe('HPACK examples of RFC 7541 appendix C', () => {
  it('C.1 integers, as table sizes with a prefix of five bits', () => {
    for (const [bytes, value] of [
      ['2a', 10],
      ['3f9a0a', 1_337],
    ] as const) {
      assert.deepEqual(decode(new Decoder(value), hex(bytes)), []);
      assert.equal(decode(new Decoder(value - 1), hex(bytes)), 'table size above the limit');
      const encoder = new Encoder();
      encoder.setTableBytesMax(value);
      assert.deepEqual(encoder.block(new HeaderSet([])), hex(bytes));
    }
    const value = 'v'.repeat(42); // C.1.3: 42 on an octet boundary is 2a
    assert.deepEqual(decode(new Decoder(0), Uint8Array.of(0, ...literal('k'), 0x2a, ...hex('76'.repeat(42)))), [
      `k: ${value}`,
    ]);
  });

  it('C.2 single fields', () => {
    const customHeader = 'custom-key: custom-header';
    for (const example of [
      { block: '400a637573746f6d2d6b65790d637573746f6d2d686561646572', fields: [customHeader], table: [customHeader] },
      { block: '040c2f73616d706c652f70617468', fields: [':path: /sample/path'], table: [] },
      { block: '100870617373776f726406736563726574', fields: ['password: secret'], table: [] },
      { block: '82', fields: [':method: GET'], table: [] },
    ]) {
      run(new Decoder(4_096), [{ name: 'C.2', ...example, tableBytes: example.table.length * 55 }]);
    }
  });

  it('C.3 requests without Huffman code', () => {
    const blocks = [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ];
    run(new Decoder(4_096), story('C.3', blocks, requestFields, requestTables, [57, 110, 164]));
  });

  it('C.4 requests with Huffman code', () => {
    const blocks = [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ];
    run(new Decoder(4_096), story('C.4', blocks, requestFields, requestTables, [57, 110, 164]));
  });

  it('C.5 responses without Huffman code, in a table of 256 bytes', () => {
    const blocks = [
      '4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17' +
        '68747470733a2f2f7777772e6578616d706c652e636f6d',
      '4803333037c1c0bf',
      '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d41' +
        '53444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20766572' +
        '73696f6e3d31',
    ];
    run(new Decoder(256), story('C.5', blocks, responseFields, responseTables, [222, 222, 215]));
  });

  it('C.6 responses with Huffman code, in a table of 256 bytes', () => {
    const blocks = [
      '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
      '4883640effc1c0bf',
      '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b' +
        '3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
    ];
    run(new Decoder(256), story('C.6', blocks, responseFields, responseTables, [222, 222, 215]));
  });
});

describe('HPACK decoder', () => {
  it('knows 61 static fields', () => {
    assert.equal(staticTable.length, staticTableLength + 1);
    assert.equal(staticTable[61]!.name, 'www-authenticate');
    assert.equal(staticTable[16]!.value, 'gzip, deflate');
  });

  it('refuses what is no valid block', () => {
    for (const [why, bytes] of [
      ['index 0', '80'],
      ['index 0 in two octets', 'ff8000'],
      ['index above the tables', 'be'],
      ['index above the tables, long', 'ff8001'],
      ['literal with an unknown name', '7f000161'],
      ['integer cut short', 'ff'],
      ['integer cut short later', 'ff80'],
      ['integer without end', 'ff808080808080808001'],
      ['integer above 2^28', 'ffffffffff7f'],
      ['name longer than the block', '00056162'],
      ['value missing', '000161'],
      ['value longer than the block', '0001610362'],
      ['string length cut short', '00017f'],
      ['size update behind a field', '8220'],
      ['size update above the limit', '3fe21f'],
      ['size update cut short', '3f'],
      ['Huffman padding longer than seven bits', '000161821fff'],
      ['Huffman padding of zeros', '0001618118'],
      ['Huffman string of padding alone', '00016181ff'],
      ['Huffman EOS', '00016184ffffffff'],
    ] as const) {
      assert.equal(typeof decode(new Decoder(4_096), hex(bytes)), 'string', why);
    }
  });

  it('lets the peer empty its table, shrink it, and go on', () => {
    const decoder = new Decoder(4_096);
    assert.deepEqual(decode(decoder, hex('40016101624001630164')), ['a: b', 'c: d']);
    assert.equal(decoder.tableSizeBytes, 68);
    assert.deepEqual(decode(decoder, hex('3f15be')), ['c: d'], 'a table of 52 bytes keeps the newest');
    assert.equal(decoder.tableSizeBytes, 34);
    assert.deepEqual(decode(decoder, hex('203fe11f')), [], 'emptied, then wide again');
    assert.equal(decoder.tableSizeBytes, 0);
    assert.deepEqual(decode(decoder, hex('4001650166be')), ['e: f', 'e: f']);
  });

  it('empties the table for a field that is larger than all of it', () => {
    const decoder = new Decoder(64);
    assert.deepEqual(decode(decoder, hex('4001610162')), ['a: b']);
    const long = 'v'.repeat(64);
    assert.deepEqual(decode(decoder, Uint8Array.of(0x40, ...literal('n'), ...literal(long))), [`n: ${long}`]);
    assert.equal(decoder.tableSizeBytes, 0);
    assert.equal(typeof decode(decoder, hex('be')), 'string');
  });

  it('keeps its table straight over many insertions', () => {
    const decoder = new Decoder(200);
    const model: string[] = [];
    for (let index = 0; index < 500; index += 1) {
      const value = 'x'.repeat(index % 40);
      const field = `n${index % 7}: ${value}`;
      decode(decoder, Uint8Array.of(0x40, ...literal(`n${index % 7}`), ...literal(value)));
      model.unshift(field);
      const size = () => model.reduce((sum, entry) => sum + entry.length - 2 + 32, 0);
      while (size() > 200) model.pop();
      assert.deepEqual(
        decoder.tableFields().map(f => `${f.name}: ${f.value}`),
        model,
      );
      assert.equal(decoder.tableSizeBytes, size());
    }
  });
});

describe('HPACK dynamic table', () => {
  it('keeps its order when it grows', () => {
    const table = new DynamicTable(80);
    for (const name of ['a', 'b', 'c']) table.insert(new HeaderField(name, ''));
    table.resize(400);
    for (const name of ['d', 'e', 'f', 'g']) table.insert(new HeaderField(name, ''));
    const names = Array.from({ length: table.length }, (_, offset) => table.get(offset)!.name);
    assert.deepEqual(names, ['g', 'f', 'e', 'd', 'c', 'b']);
    assert.equal(table.get(6), undefined);
  });
});

describe('HPACK encoder', () => {
  const headers = new HeaderSet(
    [
      [':status', '200'],
      ['content-type', 'application/grpc'],
    ],
    ['content-type'],
    true,
  );
  const trailers = new HeaderSet([['grpc-status', '0']], ['grpc-status'], true);
  const roundTrip = (decoder: Decoder, bytes: Uint8Array) => decode(decoder, bytes.slice());
  const headerFields = [':status: 200', 'content-type: application/grpc'];

  it('says a fixed set in one octet a field from the second time on', () => {
    const encoder = new Encoder();
    const decoder = new Decoder(4_096);
    for (let turn = 0; turn < 3; turn += 1) {
      assert.deepEqual(roundTrip(decoder, encoder.block(headers)), headerFields);
      assert.deepEqual(roundTrip(decoder, encoder.block(trailers)), ['grpc-status: 0']);
    }
    assert.deepEqual(encoder.block(headers), hex('88bf'));
    assert.deepEqual(encoder.block(trailers), hex('be'));
  });

  it('stays within the table that the peer grants', () => {
    for (const tableBytes of [0, 43, 60, 103, 104, 4_096, 65_536]) {
      const encoder = new Encoder();
      const decoder = new Decoder(tableBytes);
      encoder.setTableBytesMax(tableBytes);
      for (let turn = 0; turn < 3; turn += 1) {
        assert.deepEqual(roundTrip(decoder, encoder.block(headers)), headerFields, `table of ${tableBytes}`);
        assert.deepEqual(roundTrip(decoder, encoder.block(trailers)), ['grpc-status: 0'], `table of ${tableBytes}`);
      }
    }
  });

  it('announces the smallest and the last size when the peer changed it in between', () => {
    const encoder = new Encoder();
    const decoder = new Decoder(4_096);
    roundTrip(decoder, encoder.block(headers));
    encoder.setTableBytesMax(0);
    encoder.setTableBytesMax(1_000);
    const block = encoder.block(trailers).slice();
    assert.deepEqual(block.slice(0, 4), hex('203fc907'));
    assert.deepEqual(roundTrip(decoder, block), ['grpc-status: 0']);
    assert.deepEqual(
      decoder.tableFields().map(f => f.name),
      ['grpc-status'],
    );
    assert.deepEqual(roundTrip(decoder, encoder.block(headers)), headerFields);
  });

  it('sends what nobody has seen before, long and short', () => {
    const encoder = new Encoder();
    const decoder = new Decoder(4_096);
    for (const value of ['', 'x', 'a text with % and ~', '\x80\xff', 'y'.repeat(5_000)]) {
      const set = new HeaderSet([
        ['grpc-message', value],
        ['x', value],
      ]);
      assert.deepEqual(roundTrip(decoder, encoder.block(set)), [`grpc-message: ${value}`, `x: ${value}`]);
    }
    assert.equal(decoder.tableSizeBytes, 0);
  });
});
