/**
 * gzip of single messages. Synchronous: etcd's own clients never compress, so this path is for the odd one, and
 * bounded.
 */
import { gunzipSync, gzipSync } from 'node:zlib';

/** Messages above this go out plain even to a client that compresses: the main thread serves others too. */
const gzipBytesMax = 1024 * 1024;

/** Unpacks a message. `too-large`: it would have more than `bytesMax` bytes. */
export function unpack(bytes: Uint8Array, bytesMax: number): Uint8Array | 'too-large' | { readonly error: string } {
  try {
    return gunzipSync(bytes, { maxOutputLength: Math.max(1, bytesMax) });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ERR_BUFFER_TOO_LARGE' ? 'too-large' : { error: message };
  }
}

/** Packs a message; undefined: send it plain. */
export function pack(bytes: Uint8Array): Uint8Array | undefined {
  return bytes.length === 0 || bytes.length > gzipBytesMax ? undefined : gzipSync(bytes);
}
