/**
 * Signed tokens: every method, and every way not to be one.
 */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { JwtTokens } from '../../../src/host/auth/jwt.js';
import { parseTokenOptions, signMethods } from '../../../src/host/auth/token-options.js';

const directory = mkdtempSync(join(tmpdir(), 'kvorum-jwt-'));
after(() => rmSync(directory, { recursive: true, force: true }));

interface KeyFiles {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Two pairs of each kind: the second is somebody else's. */
const pairs = new Map<string, KeyFiles[]>();
for (const { keyType, ...rest } of Object.values(signMethods)) {
  const kind = 'curve' in rest ? rest.curve : keyType;
  if (!pairs.has(kind))
    pairs.set(
      kind,
      [1, 2].map(number => keyFiles(kind, number)),
    );
}

function keyFiles(kind: string, number: number): KeyFiles {
  const base = join(directory, `${kind}-${number}`);
  if (kind === 'secret') {
    writeFileSync(base, `secret ${number}`);
    return { privateKey: base, publicKey: base };
  }
  const pair = pairOf(kind);
  writeFileSync(`${base}.key`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(`${base}.pub`, pair.publicKey.export({ type: 'spki', format: 'pem' }));
  return { privateKey: `${base}.key`, publicKey: `${base}.pub` };
}

function pairOf(kind: string): { publicKey: KeyObject; privateKey: KeyObject } {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: kind });
}

function filesOf(method: keyof typeof signMethods, number: 0 | 1 = 0): KeyFiles {
  const wanted = signMethods[method];
  return pairs.get('curve' in wanted ? wanted.curve : wanted.keyType)?.[number] as KeyFiles;
}

/** The tokens of a --auth-token. */
function tokensOf(spec: string): JwtTokens {
  const options = parseTokenOptions(spec);
  assert.ok(options !== undefined);
  return new JwtTokens(options);
}

for (const method of Object.keys(signMethods) as (keyof typeof signMethods)[]) {
  test(`${method}: signed by the private key, read by either, and by nobody else's`, async () => {
    const { privateKey, publicKey } = filesOf(method);
    const signer = tokensOf(`jwt,sign-method=${method},priv-key=${privateKey},ttl=10m`);
    const beforeMs = Date.now();
    const token = await signer.sign('alice', 7);
    const read = await signer.verify(token);
    assert.deepEqual([read?.userName, read?.revision], ['alice', 7]);
    const lifeMs = (read?.validUntilMs ?? 0) - beforeMs;
    assert.ok(lifeMs > 598_000 && lifeMs <= 601_000, `${lifeMs} ms`);
    assert.deepEqual(JSON.parse(Buffer.from(token.split('.')[0] as string, 'base64url').toString()), {
      alg: method,
      typ: 'JWT',
    });
    const other = tokensOf(`jwt,sign-method=${method},priv-key=${filesOf(method, 1).privateKey}`);
    assert.equal(await other.verify(token), undefined, "another's key");
    if (signMethods[method].keyType === 'secret') return;
    const reader = tokensOf(`jwt,sign-method=${method},pub-key=${publicKey}`);
    assert.equal(reader.canSign, false);
    assert.equal((await reader.verify(token))?.userName, 'alice');
  });
}

test('what is no token: expired, tampered with, signed by another method or not at all, without its claims', async () => {
  const secret = filesOf('HS256').privateKey;
  const tokens = tokensOf(`jwt,sign-method=HS256,priv-key=${secret}`);
  const good = await tokens.sign('root', 3);
  const [head, body, signature] = good.split('.') as [string, string, string];
  const inAnHour = Math.floor(Date.now() / 1000) + 3_600;
  const claims = { username: 'root', revision: 3, exp: inAnHour };
  assert.equal((await tokens.verify(signed({ alg: 'HS256' }, claims)))?.userName, 'root');
  assert.equal(
    (await tokens.verify(signed({ alg: 'HS256' }, { username: 'root', revision: 3 })))?.validUntilMs,
    Infinity,
  );
  const refused: Record<string, string> = {
    empty: '',
    'a simple token': 'abcdefghijklmnop.42',
    expired: signed({ alg: 'HS256' }, { ...claims, exp: inAnHour - 7_200 }),
    'not yet valid': signed({ alg: 'HS256' }, { ...claims, nbf: inAnHour }),
    'other claims': `${head}.${Buffer.from(JSON.stringify({ ...claims, username: 'eve' })).toString('base64url')}.${signature}`,
    'no signature': `${head}.${body}.`,
    unsigned: `${encoded({ alg: 'none' })}.${body}.`,
    'another method, same secret': signed({ alg: 'HS512' }, claims, 'sha512'),
    'no user': signed({ alg: 'HS256' }, { revision: 3, exp: inAnHour }),
    'a user that is no text': signed({ alg: 'HS256' }, { ...claims, username: 7 }),
    'no revision': signed({ alg: 'HS256' }, { username: 'root', exp: inAnHour }),
    'a revision that is text': signed({ alg: 'HS256' }, { ...claims, revision: '3' }),
    'a revision below zero': signed({ alg: 'HS256' }, { ...claims, revision: -1 }),
    'a revision that is none': signed({ alg: 'HS256' }, { ...claims, revision: 1e300 }),
  };
  for (const [what, token] of Object.entries(refused)) assert.equal(await tokens.verify(token), undefined, what);

  function encoded(value: unknown): string {
    return Buffer.from(JSON.stringify(value)).toString('base64url');
  }
  function signed(header: object, payload: object, hash = 'sha256'): string {
    const text = `${encoded(header)}.${encoded(payload)}`;
    return `${text}.${createHmac(hash, 'secret 1').update(text).digest('base64url')}`;
  }
});

test('a public key is no secret: a token signed with its text by HMAC is refused', async () => {
  const { publicKey, privateKey } = filesOf('RS256');
  const tokens = tokensOf(`jwt,sign-method=RS256,priv-key=${privateKey},pub-key=${publicKey}`);
  const forger = tokensOf(`jwt,sign-method=HS256,priv-key=${publicKey}`);
  assert.equal(await tokens.verify(await forger.sign('root', 1)), undefined);
});

test('keys that do not fit end the start with a line that says why', () => {
  const rsa = filesOf('RS256');
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const smallPath = join(directory, 'small.key');
  writeFileSync(smallPath, small.privateKey.export({ type: 'pkcs1', format: 'pem' }));
  writeFileSync(join(directory, 'empty'), '');
  writeFileSync(join(directory, 'garbage'), 'not a key');
  const refusals: Record<string, RegExp> = {
    'jwt,sign-method=RS256': /^StartError: --auth-token: missing key data: RS256 needs priv-key or pub-key$/,
    'jwt,sign-method=HS256': /missing key data: HS256 needs priv-key$/,
    [`jwt,sign-method=HS256,pub-key=${rsa.publicKey}`]: /missing key data/,
    [`jwt,sign-method=HS256,priv-key=${join(directory, 'empty')}`]: /missing key data: .*empty is empty/,
    [`jwt,sign-method=RS256,priv-key=${join(directory, 'absent')}`]:
      /invalid auth options: cannot read .*absent: ENOENT/,
    [`jwt,sign-method=RS256,priv-key=${join(directory, 'garbage')}`]:
      /garbage holds no rsa key in PEM, which RS256 needs/,
    [`jwt,sign-method=RS256,priv-key=${rsa.publicKey}`]: /holds no rsa key/,
    [`jwt,sign-method=RS256,priv-key=${filesOf('ES256').privateKey}`]: /holds no rsa key in PEM, which RS256 needs/,
    [`jwt,sign-method=ES256,priv-key=${rsa.privateKey}`]: /holds no ec key on the curve prime256v1/,
    [`jwt,sign-method=ES384,priv-key=${filesOf('ES256').privateKey}`]: /holds no ec key on the curve secp384r1/,
    [`jwt,sign-method=EdDSA,pub-key=${rsa.publicKey}`]: /holds no ed25519 key/,
    [`jwt,sign-method=RS256,priv-key=${smallPath}`]: /has 1024 bits; use one of at least 2048/,
    [`jwt,sign-method=PS256,priv-key=${rsa.privateKey},pub-key=${filesOf('RS256', 1).publicKey}`]:
      /public and private keys don't match/,
  };
  for (const [spec, text] of Object.entries(refusals)) assert.throws(() => tokensOf(spec), text, spec);
});

test('what --auth-token may say', () => {
  assert.equal(parseTokenOptions('simple'), undefined);
  assert.deepEqual(parseTokenOptions('jwt,sign-method=ES512,pub-key=a,priv-key=b,ttl=1h30m'), {
    method: 'ES512',
    publicKeyPath: 'a',
    privateKeyPath: 'b',
    ttlMs: 5_400_000,
  });
  assert.equal(parseTokenOptions('jwt,sign-method=HS256')?.ttlMs, 300_000);
  const refusals: Record<string, RegExp> = {
    '': /^StartError: --auth-token: invalid auth options: {2}is neither simple nor jwt$/,
    bearer: /bearer is neither simple nor jwt/,
    jwt: /invalid auth signature method: sign-method is missing; use one of RS256, /,
    'jwt,sign-method=none': /invalid auth signature method: sign-method none is none/,
    'jwt,sign-method=toString': /invalid auth signature method/,
    'jwt,sign-method': /invalid auth options: sign-method is not name=value/,
    'jwt,sign-method=RS256=': /is not name=value/,
    'jwt,ttl=1m,ttl=2m': /invalid auth options: ttl is given twice/,
    'jwt,sign-method=RS256,ttl=soon': /ttl is a duration of at least 1s, like 10m, not soon/,
    'jwt,sign-method=RS256,ttl=0': /ttl is a duration/,
    'jwt,sign-method=RS256,key=a': /unknown JWT option key; there are sign-method, pub-key, priv-key, ttl/,
  };
  for (const [spec, text] of Object.entries(refusals)) assert.throws(() => parseTokenOptions(spec), text, spec);
});
