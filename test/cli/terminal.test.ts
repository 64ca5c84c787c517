/**
 * The password prompt on a real terminal, and where there is none.
 *
 * A terminal is made by Python's pty module: it waits for the question, looks whether the terminal shows what is typed,
 * types, and looks again when the program has ended.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startCluster } from '../../src/index.js';
import { requirePeer } from '../support/peers.js';
import { environmentWithout } from '../support/server-process.js';

const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const env = { ...environmentWithout('ETCDCTL_'), NO_COLOR: '1' };

const terminal = `
import json, os, pty, signal, sys, termios
def shows(fd):
    flags = termios.tcgetattr(fd)[3]
    return [bool(flags & termios.ECHO), bool(flags & termios.ICANON)]
typed, words = sys.argv[1], sys.argv[2:]
child, fd = pty.fork()
if child == 0:
    os.execv(words[0], words)
seen = b''
while not seen.endswith(b'Password: '):
    seen += os.read(fd, 1000)
# Held open, or what the terminal was told goes with the last program on it.
keeper = os.open(os.readlink(f'/proc/{child}/fd/0'), os.O_RDWR | os.O_NOCTTY)
while shows(fd)[0]:
    pass
asked = shows(fd)
if typed == 'SIGTERM':
    os.kill(child, signal.SIGTERM)
else:
    os.write(fd, typed.encode())
status = os.waitpid(child, 0)[1]
os.set_blocking(fd, False)
try:
    while True:
        seen += os.read(fd, 1000)
except OSError:
    pass
print(json.dumps({'asked': asked, 'after': shows(fd), 'seen': seen.decode(), 'status': os.waitstatus_to_exitcode(status)}))
`;

interface Seen {
  /** Whether the terminal shows what is typed, and waits for whole lines: at the question and in the end. */
  readonly asked: readonly [boolean, boolean];
  readonly after: readonly [boolean, boolean];
  readonly seen: string;
  /** The exit code; the signal as a negative number. */
  readonly status: number;
}

test('a password is asked for, not shown, and the terminal is left as it was', async t => {
  const python = requirePeer(t, '/usr/bin/python3');
  if (python === undefined) return;
  await using cluster = await startCluster({ members: 1, logLevel: 'silent', bcryptCost: 4 });
  const { user, role, auth } = cluster.client();
  await user.add('root', 'sécret');
  await role.add('root');
  await user.grantRole('root', 'root');
  await auth.enable();
  const words = [
    command,
    'member',
    'list',
    '--user',
    'root',
    '--endpoints',
    new URL(cluster.endpoints[0] as string).host,
  ];
  const type = (typed: string): Promise<Seen> =>
    new Promise((resolve, reject) => {
      execFile(python, ['-c', terminal, typed, process.execPath, ...words], { env }, (error, stdout, stderr) => {
        if (error === null) resolve(JSON.parse(stdout) as Seen);
        else reject(new Error(stderr));
      });
    });
  const expected: Record<string, readonly [status: number, output: RegExp]> = {
    'sécrex\u007ft\r': [0, /^Password: \r\n[0-9a-f]+ {2}m1 [^\r]*\r\n$/],
    'wrong\u0015sécret\n': [0, /^Password: \r\n[0-9a-f]+ {2}m1 [^\r]*\r\n$/],
    'wrong\r': [1, /^Password: \r\nkvorum: etcdserver: authentication failed, invalid user ID or password\r\n$/],
    'hidden\u0003': [-2, /^Password: \r\n$/],
    'hidden\u0004': [1, /^Password: \r\nkvorum: no password was given\r\n$/],
    SIGTERM: [-15, /^Password: $/],
  };
  for (const [typed, [status, output]] of Object.entries(expected)) {
    const outcome = await type(typed);
    assert.match(outcome.seen, output, JSON.stringify(typed));
    assert.deepEqual(outcome.asked, [false, false], JSON.stringify(typed));
    assert.deepEqual([outcome.status, outcome.after], [status, [true, true]], JSON.stringify(typed));
  }
  // Without a terminal the first line is the password, as etcdctl takes it.
  const pipe = async (input: string): Promise<[number | null, string]> => {
    const child = spawn(process.execPath, words, { env, stdio: ['pipe', 'ignore', 'pipe'] });
    child.stdin.end(input);
    const [said] = await Promise.all([text(child.stderr), new Promise(resolve => child.once('close', resolve))]);
    return [child.exitCode, said];
  };
  for (const input of ['sécret\n', 'sécret', 'sécret\r\nmore\n']) assert.deepEqual(await pipe(input), [0, '']);
  assert.deepEqual(await pipe(''), [1, 'kvorum: no password was given\n']);
});
