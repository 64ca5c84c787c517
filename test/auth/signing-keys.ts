/** A pair of keys for signed tokens, as files, and the option that names them to a server. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ownDirectory } from '../support/server-process.js';

export async function signingKeys(): Promise<{ authToken: string; remove(): Promise<void> }> {
  const directory = await ownDirectory('kvorum-jwt-');
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const [secret, open] = [join(directory.path, 'private.pem'), join(directory.path, 'public.pem')];
  await Promise.all([writeFile(secret, privateKey), writeFile(open, publicKey)]);
  const authToken = `jwt,pub-key=${open},priv-key=${secret},sign-method=RS256,ttl=10m`;
  return { authToken, remove: directory.remove };
}
