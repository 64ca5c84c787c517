/**
 * Programs of others that tests talk to: h2load, nghttp, etcdctl and the like.
 *
 * In CI they must be there: a test that silently did not run proves nothing. On a developer's machine their absence
 * skips the test and says which program to install.
 */
import { execFileSync } from 'node:child_process';
import type { TestContext } from 'node:test';

/** Path of `command`, or undefined after the test has been skipped. Throws in CI. */
export function requirePeer(t: TestContext, command: string): string | undefined {
  try {
    return execFileSync('/bin/sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).trim();
  } catch {
    const text = `${command} is not installed`;
    if (process.env.CI !== undefined) throw new Error(`${text}, and CI may not go without it`);
    t.skip(text);
    return undefined;
  }
}

/** The system's Python with Debian's two etcd clients, or undefined after the test has been skipped. Throws in CI. */
export function requirePython(t: TestContext): string | undefined {
  const python = '/usr/bin/python3';
  try {
    execFileSync(python, ['-c', 'import etcd3, etcd3gw'], { stdio: 'ignore' });
    return python;
  } catch {
    const text = `${python} has not both of python3-etcd3 and python3-etcd3gw`;
    if (process.env.CI !== undefined) throw new Error(`${text}, and CI may not go without them`);
    t.skip(text);
    return undefined;
  }
}
