/**
 * The load generator's long streams: nothing is lost in pieces or windows, and a response is read in any field order.
 *
 * Its peer here is node:http2. Its stream window is larger than the protocol's default, so that a generator which goes by
 * the default waits for a window update that does not come, and smaller than what is sent.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http2';
import { test } from 'node:test';
import { StreamConnection } from '../../src/load/stream-connection.js';
import { WatchResponseReader } from '../../src/load/watch-response.js';
import { encode } from '../../src/wire/schema.js';
import { frameMessage } from '../support/grpc-client.js';

test('messages beyond every window arrive, and their echoes, cut anywhere, are handed out whole', {
  timeout: 20_000,
}, async () => {
  const server = createServer({ settings: { initialWindowSize: 2 ** 20 } });
  server.on('stream', stream => {
    stream.on('error', () => {}); // The connection is closed with its streams open.
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    // What the client's frames are cut into again has nothing to do with where its messages begin.
    stream.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += 777) stream.write(chunk.subarray(at, at + 777));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const [streams, messages] = [3, 400];
  const echoes: string[][] = Array.from({ length: streams }, () => []);
  let connection: StreamConnection | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      let missing = streams * messages;
      const opened = StreamConnection.open({
        endpoint: `127.0.0.1:${port}`,
        path: '/test.Echo/Echo',
        onMessage: (stream, bytes, start, end) => {
          echoes[stream]!.push(bytes.toString('latin1', start, end).trim());
          if (--missing === 0) resolve();
        },
        failed: reject,
      });
      opened.then(open => {
        connection = open;
        for (let stream = 0; stream < streams; stream++) open.openStream();
        for (let i = 0; i < messages; i++)
          for (let stream = 0; stream < streams; stream++)
            open.send(stream, Buffer.from(textOf(stream, i).padEnd(3000)));
        open.flush();
      }, reject);
    });
  } finally {
    connection?.close();
    server.close();
  }
  const expected = echoes.map((_, stream) => Array.from({ length: messages }, (_, i) => textOf(stream, i)));
  assert.deepEqual(echoes, expected);
});

test('a watch response is read with its fields in either order', () => {
  const events = [7, 8].map(revision => ({
    kv: { key: Buffer.from('k'), mod_revision: BigInt(revision), value: Buffer.from([0, 0, 1, revision, 9]) },
  }));
  const header = { cluster_id: 2n ** 63n, revision: 8n };
  const [body, id] = [{ header, events }, { watch_id: 300n }].map(part => encode('etcdserverpb.WatchResponse', part));
  const reader = new WatchResponseReader();
  for (const parts of [
    [body!, id!],
    [id!, body!],
  ]) {
    const bytes = Buffer.concat([Buffer.from('before'), ...parts, Buffer.from('behind')]);
    reader.read(bytes, 6, bytes.length - 6);
    assert.equal(reader.watchId, 300);
    assert.equal(reader.events, 2);
    assert.deepEqual(reader.revisions.slice(0, 2), [7, 8]);
    assert.deepEqual(reader.numbers.slice(0, 2), [0x107, 0x108]);
    assert.equal(reader.created || reader.cancelled, false);
  }
  const created = frameMessage(encode('etcdserverpb.WatchResponse', { header, created: true }));
  reader.read(created, 5, created.length);
  assert.equal(reader.created, true);
  assert.equal(reader.events, 0);
});

function textOf(stream: number, message: number): string {
  return `${stream}/${message}`;
}
