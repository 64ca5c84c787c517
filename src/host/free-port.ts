/**
 * Free ports are looked for below the range from which systems take the local ports of connections: who is down for a
 * while must find its port free when it comes back.
 */
import { randomInt } from 'node:crypto';

const freePorts = { from: 10_240, to: 32_768 } as const;
const freePortAttempts = 20;

/** Listens on `port`; for 0 on a free one, in the end of the system's own choice. Rejects with what `listen` says. */
export async function listenOn(port: number, listen: (port: number) => Promise<void>): Promise<void> {
  for (let attempt = 0; port === 0 && attempt < freePortAttempts; attempt += 1) {
    try {
      return await listen(randomInt(freePorts.from, freePorts.to));
    } catch {
      // Another one, then.
    }
  }
  await listen(port);
}
