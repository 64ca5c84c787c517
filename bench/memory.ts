/**
 * What an idle watcher and a lease cost in memory: resident bytes of the server's processes before and after.
 *
 * Every scenario has a cluster of its own, which served a few puts before. Both readings wait until the size has settled
 * by itself; no collection is forced on either side, so what creating the things left behind counts too. The members of
 * etcd are three processes, whose sum counts; kvorum is one. A process with a collected heap moves by some 20 MiB for no
 * reason at all: what each of 10,000 costs is known to 2 KiB only, what each of 50,000 or 100,000 does is the figure.
 *
 * Watchers have a key each, on 100 streams over 30 connections to all members; what those cost is part of it.
 */
import { grantLeases } from '../src/load/grants.js';
import { type Resident, resident } from '../src/load/processes.js';
import { delay } from '../src/load/waiting.js';
import { openWatchers } from '../src/load/watchers.js';
import { putEach, type Running } from './scenarios.js';

export interface MemoryScenario {
  readonly name: string;
  readonly count: number;
  /** Brings the things about; what it resolves with ends them. */
  readonly create: (endpoints: readonly string[]) => Promise<() => void>;
}

export interface MemoryMeasurement {
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** What each of the things added. */
  readonly bytesEach: number;
  /** Of that what is not a page of a mapped file. */
  readonly anonymousBytesEach: number;
}

const leaseTtlSeconds = 3_600;
const streams = 100;
const connections = 30;
const warmPuts = 1_000;
/** Settled: in so many seconds it moved by no more than this share. */
const settleSeconds = 10;
const settleShare = 0.01;
const settleSecondsMax = 60;

export const memoryScenarios: readonly MemoryScenario[] = [
  { name: 'watchers-10000', count: 10_000, create: endpoints => createWatchers(endpoints, 10_000) },
  { name: 'watchers-50000', count: 50_000, create: endpoints => createWatchers(endpoints, 50_000) },
  { name: 'leases-10000', count: 10_000, create: endpoints => createLeases(endpoints, 10_000) },
  { name: 'leases-100000', count: 100_000, create: endpoints => createLeases(endpoints, 100_000) },
];

/** Runs a scenario on a fresh cluster. */
export async function measureMemory(scenario: MemoryScenario, running: Running): Promise<MemoryMeasurement> {
  const { subject, endpoints, settings } = running;
  await putEach(endpoints, warmPuts, settings.valueBytes);
  const before = await settled(subject.pids);
  const end = await scenario.create(endpoints);
  const after = await settled(subject.pids);
  end();
  return {
    beforeBytes: before.bytes,
    afterBytes: after.bytes,
    bytesEach: (after.bytes - before.bytes) / scenario.count,
    anonymousBytesEach: (after.anonymousBytes - before.anonymousBytes) / scenario.count,
  };
}

async function createWatchers(endpoints: readonly string[], watchers: number): Promise<() => void> {
  const raise = (error: Error) => {
    throw error;
  };
  const open = await openWatchers(endpoints, { keys: watchers, watchers, streams, connections }, () => {}, raise);
  return () => {
    for (const connection of open) connection.close();
  };
}

async function createLeases(endpoints: readonly string[], leases: number): Promise<() => void> {
  await grantLeases(endpoints, leases, leaseTtlSeconds);
  return () => {};
}

async function settled(pids: readonly number[]): Promise<Resident> {
  const readings: Resident[] = [];
  for (;;) {
    const reading = resident(pids);
    if (reading === undefined) throw new Error('this system does not tell how large a process is');
    readings.push(reading);
    const last = readings.slice(-settleSeconds - 1).map(({ bytes }) => bytes);
    const moved = Math.max(...last) - Math.min(...last);
    if (readings.length > settleSecondsMax) return reading;
    if (readings.length > settleSeconds && moved <= settleShare * reading.bytes) return reading;
    await delay(1000);
  }
}
