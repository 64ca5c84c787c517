import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as readline from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Prng } from '../../../src/base/prng.js';
import { temporaryDirectory } from './support.js';

const LIVES = 8;
const CHILD = fileURLToPath(new URL('kill-child.js', import.meta.url));

test('what was acknowledged survives kill -9, life after life', { timeout: 120_000 }, async context => {
  const directory = await temporaryDirectory(context);
  const prng = new Prng(11);
  let acknowledged = 0;
  for (let life = 0; life < LIVES; life += 1) {
    const child = spawn(process.execPath, [CHILD, directory], { stdio: ['ignore', 'pipe', 'pipe'] });
    context.after(() => child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', text => {
      complaint += text;
    });
    let reportsLeft = 1 + prng.nextBelow(200);
    let opened = false;
    for await (const line of readline.createInterface({ input: child.stdout })) {
      const index = Number(line.replace('open ', ''));
      if (!opened) {
        assert.ok(line.startsWith('open '), line);
        assert.ok(index >= acknowledged, `life ${life}: the log ends at ${index}, ${acknowledged} was acknowledged`);
        opened = true;
      }
      acknowledged = index;
      reportsLeft -= 1;
      if (reportsLeft === 0) child.kill('SIGKILL');
    }
    await exited;
    assert.ok(opened, `life ${life} did not open: ${complaint}`);
    assert.equal(child.signalCode, 'SIGKILL', complaint);
  }
  assert.ok(acknowledged > 500, 'the lives were too short to mean something');
});
