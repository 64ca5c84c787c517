/**
 * etcdctl, and with it gRPC's Go client, against the layer alone: a service that knows just enough of etcd to be
 * called.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { type Call, type CallListener, deafListener } from '../../../src/host/grpc/call.js';
import { createGrpcListener } from '../../../src/host/grpc/server.js';
import { unknownMethodText } from '../../../src/wire/methods.js';
import { requirePeer } from '../../support/peers.js';

const run = promisify(execFile);

interface Seen {
  readonly path: string;
  readonly message: Buffer;
  readonly timeoutMs: number | undefined;
  readonly apiVersion: string | undefined;
}

/** Answers Put with an empty response, Watch with events without end, everything else as unknown. */
class Stub {
  readonly seen: Seen[] = [];
  readonly cancels: string[] = [];
  onCancel: () => void = () => {};

  readonly service = (call: Call): CallListener => {
    const note = (message: Uint8Array) => {
      const apiVersion = call.metadata.get('client-api-version');
      this.seen.push({ path: call.path, message: Buffer.from(message), timeoutMs: call.deadlineMs, apiVersion });
    };
    const cancel = (reason: string) => {
      this.cancels.push(reason);
      call.end(1, '');
      this.onCancel();
    };
    if (call.path === '/etcdserverpb.KV/Put') {
      return {
        ...deafListener,
        message: bytes => {
          note(bytes);
          if (bytes.length > 1_000_000) call.end(3, 'etcdserver: request is too large');
          else call.reply(new Uint8Array(0));
        },
      };
    }
    if (call.path === '/etcdserverpb.Watch/Watch') {
      return {
        message: bytes => {
          note(bytes);
          call.sendMessage(Uint8Array.of(0x0a, 0, 0x18, 1)); // header, created
          call.sendMessage(watchEvent);
        },
        halfClose: () => call.end(0, ''),
        cancel,
      };
    }
    call.end(12, unknownMethodText(call.path));
    return deafListener;
  };
}

/** WatchResponse { header: {}, events: [Event { kv: { key: "k", mod_revision: 2, value: "v" } }] } */
const watchEvent = Uint8Array.of(0x0a, 0, 0x5a, 10, 0x12, 8, 0x0a, 1, 0x6b, 0x18, 2, 0x2a, 1, 0x76);

async function start(t: TestContext): Promise<{ stub: Stub; endpoint: string } | undefined> {
  if (requirePeer(t, 'etcdctl') === undefined) return undefined;
  const stub = new Stub();
  const listener = createGrpcListener({ service: stub.service });
  const { port } = await listener.listen('127.0.0.1', 0);
  t.after(() => listener.close(0));
  return { stub, endpoint: `--endpoints=127.0.0.1:${port}` };
}

const environment = { ...process.env, ETCDCTL_API: '3' };

it('puts', async t => {
  const started = await start(t);
  if (started === undefined) return;
  const { stub, endpoint } = started;
  const { stdout } = await run('etcdctl', [endpoint, 'put', 'key', 'value'], { env: environment });
  assert.equal(stdout, 'OK\n');
  const [put] = stub.seen;
  assert.equal(put!.path, '/etcdserverpb.KV/Put');
  assert.equal(put!.message.toString('latin1'), '\n\x03key\x12\x05value');
  assert.ok(put!.timeoutMs! > 0 && put!.timeoutMs! <= 5_000, `${put!.timeoutMs} ms`);
  assert.match(put!.apiVersion!, /^3\.\d+/);
});

it('puts a megabyte through many frames, and prints the error it gets', async t => {
  const started = await start(t);
  if (started === undefined) return;
  const child = spawn('etcdctl', [started.endpoint, 'put', 'key'], { env: environment });
  child.stdin.end('x'.repeat(1_200_000));
  const failed = await outcome(child);
  assert.match(failed, /etcdserver: request is too large/);
  assert.equal(started.stub.seen[0]!.message.length > 1_200_000, true);
});

it('is told what is not there', async t => {
  const started = await start(t);
  if (started === undefined) return;
  const failed = await outcome(spawn('etcdctl', [started.endpoint, 'lease', 'grant', '10'], { env: environment }));
  assert.match(failed, /unknown method LeaseGrant for service etcdserverpb\.Lease/);
});

it('watches, and its end is noticed', async t => {
  const started = await start(t);
  if (started === undefined) return;
  const { stub, endpoint } = started;
  const cancelled = new Promise<void>(resolve => {
    stub.onCancel = resolve;
  });
  const child = spawn('etcdctl', [endpoint, 'watch', 'k'], { env: environment });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  for await (const text of child.stdout.setEncoding('utf8')) {
    output += text;
    if (output.includes('v\n')) break;
  }
  assert.equal(output, 'PUT\nk\nv\n');
  child.kill('SIGKILL');
  await cancelled;
  assert.deepEqual(stub.cancels, ['connection']);
});

/** What a failing run says. */
async function outcome(child: ChildProcess): Promise<string> {
  let text = '';
  child.stderr!.setEncoding('utf8').on('data', part => {
    text += part;
  });
  const [code] = await once(child, 'close');
  assert.notEqual(code, 0);
  return text;
}
