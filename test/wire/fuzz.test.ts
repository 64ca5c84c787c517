/**
 * Any bytes, into every decoder: a message or a ProtoError, never another error, never a hang.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex } from '../../src/base/bytes.js';
import { Prng } from '../../src/base/prng.js';
import { ProtoError } from '../../src/wire/proto.js';
import { schema } from '../../src/wire/schema/messages.js';
import { decode, encode, type MessageName } from '../../src/wire/schema.js';
import { damaged, randomBytes, randomMessage } from './random-message.js';

const names = Object.keys(schema) as MessageName[];

test('every message of the schema, damaged and random', () => {
  const prng = new Prng(20_251_121);
  let refused = 0;
  for (let round = 0; round < 60; round++) {
    for (const name of names) {
      const whole = encode(name, randomMessage(prng, name, 3) as never);
      for (const bytes of [damaged(prng, whole), randomBytes(prng, 24)]) {
        try {
          const message = decode(name, bytes);
          decode(name, encode(name, message as never));
        } catch (error) {
          assert.ok(error instanceof ProtoError, `${name} ${bytesToHex(bytes)} ${String(error)}`);
          refused++;
        }
      }
    }
  }
  assert.ok(refused > 1000);
});
