/**
 * The stories in transcripts/ are the specification of the core: each prints all of what happens, and must not change.
 */
import { Stage } from './support/stage.js';
import { testTranscripts } from './support/transcript.js';

testTranscripts('test/member/raft/transcripts', () => Stage.interpreter());
