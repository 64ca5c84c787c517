/**
 * Boots one member thread; src/member/thread.ts is what runs in it.
 *
 * The thread's hundred modules are required, not imported: require() loads ES modules without a trip through the thread
 * pool for each, which takes a sixth off the start of a thread (112 against 132 ms, and three start on two cores).
 */
import { createRequire } from 'node:module';
import type * as Thread from '../src/member/thread.js';

const { runMemberThread } = createRequire(import.meta.url)('../src/member/thread.js') as typeof Thread;

runMemberThread();
