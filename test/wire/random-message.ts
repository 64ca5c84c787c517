/**
 * Random messages by schema, and damage done to their bytes: the raw material of the codec tests.
 */
import type { Prng } from '../../src/base/prng.js';
import { messageTable } from '../../src/wire/schema.js';

const TEXTS = ['', 'a', 'name', 'Grüße', '\u{1f600}', 'x'.repeat(70)];
const INTEGERS = [0n, 1n, 127n, 128n, 300n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n];
const NEGATIVE = [-1n, -128n, -(2n ** 31n), -(2n ** 53n), -(2n ** 63n)];

function pick<Value>(prng: Prng, values: readonly Value[]): Value {
  return values[prng.nextBelow(values.length)]!;
}

export function randomBytes(prng: Prng, lengthMax: number): Uint8Array {
  return Uint8Array.from({ length: prng.nextBelow(lengthMax + 1) }, () => prng.nextBelow(256));
}

/** A value that `encode` takes for the message `name`; embedded messages end at `depthMax`. */
export function randomMessage(prng: Prng, name: string, depthMax: number): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  const chosen = new Map<string, string>();
  const { fields } = messageTable(name);
  for (const field of fields) {
    if (field.oneof !== '' && prng.nextBelow(2) === 0) chosen.set(field.oneof, field.name);
  }
  for (const field of fields) {
    if (field.oneof !== '' && chosen.get(field.oneof) !== field.name) continue;
    if (field.kind === 'message' && depthMax === 0) continue;
    if (prng.nextBelow(4) === 0) continue;
    const isList = field.label === 'repeated' || field.label === 'packed';
    const value = () => randomValue(prng, field.kind, field.typeName, depthMax);
    message[field.name] = isList ? Array.from({ length: prng.nextBelow(4) }, value) : value();
  }
  return message;
}

function randomValue(prng: Prng, kind: string, typeName: string, depthMax: number): unknown {
  if (kind === 'message') return randomMessage(prng, typeName, depthMax - 1);
  if (kind === 'bytes') return randomBytes(prng, 40);
  if (kind === 'string') return pick(prng, TEXTS);
  if (kind === 'bool') return prng.nextBelow(2) === 1;
  if (kind === 'int64') return pick(prng, [...INTEGERS, ...NEGATIVE]);
  if (kind === 'uint64') return pick(prng, [...INTEGERS, 2n ** 64n - 1n]);
  if (kind === 'uint32') return pick(prng, [0, 1, 128, 2 ** 32 - 1]);
  return pick(prng, [0, 1, 2, 3, 200, -1]);
}

/** A copy of `bytes` with one to three small accidents. */
export function damaged(prng: Prng, bytes: Uint8Array): Uint8Array {
  let result = [...bytes];
  for (let accidents = 1 + prng.nextBelow(3); accidents > 0; accidents--) {
    const at = prng.nextBelow(result.length + 1);
    const accident = prng.nextBelow(5);
    if (accident === 0) result = result.slice(0, at);
    else if (accident === 1) result.splice(at, 1 + prng.nextBelow(3));
    else if (accident === 2) result.splice(at, 0, ...randomBytes(prng, 12));
    else if (accident === 3) result.splice(at, 0, ...result.slice(0, 1 + prng.nextBelow(20)));
    else if (at < result.length) result[at] = result[at]! ^ (1 << prng.nextBelow(8));
  }
  return Uint8Array.from(result);
}
