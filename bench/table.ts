/** The comparison's output: medians of each side, and the median and range of the pairs' own ratios. */
import type { Family } from '../test/support/differential.js';
import type { MemoryMeasurement } from './memory.js';
import type { Measurement } from './scenarios.js';

/** Everything measured of one side in one pair, by scenario name. */
export interface Round {
  readonly rates: ReadonlyMap<string, Measurement>;
  readonly memory: ReadonlyMap<string, MemoryMeasurement>;
}

export type Rounds = ReadonlyMap<Family, readonly Round[]>;

interface Column<M> {
  readonly head: string;
  readonly value: (measured: M) => number | undefined;
  readonly digits: (name: string) => number;
}

const kib = 1024;
const mib = 1024 * kib;

/** One line per scenario; the ratios are of throughputs, to the last side. */
export function rateTable(rounds: Rounds, sides: readonly Family[]): string {
  const columns: Column<Measurement>[] = [
    { head: '/s', value: ({ perSecond }) => perSecond, digits: name => (name.startsWith('start-up') ? 2 : 0) },
    { head: 'p50 ms', value: ({ p50 }) => p50, digits: () => 2 },
    { head: 'p99 ms', value: ({ p99 }) => p99, digits: () => 2 },
    { head: 'µs CPU', value: ({ serverMicros }) => serverMicros, digits: () => 1 },
    { head: 'client CPUs', value: ({ clientCpus }) => clientCpus, digits: () => 2 },
  ];
  return table(
    rounds,
    sides,
    ({ rates }) => rates,
    columns,
    (own, reference) => own.perSecond / reference.perSecond,
  );
}

/** One line per scenario; the ratios say how many times as much the last side needs, where both need anything. */
export function memoryTable(rounds: Rounds, sides: readonly Family[]): string {
  const columns: Column<MemoryMeasurement>[] = [
    { head: 'MiB before', value: ({ beforeBytes }) => beforeBytes / mib, digits: () => 0 },
    { head: 'after', value: ({ afterBytes }) => afterBytes / mib, digits: () => 0 },
    { head: 'KiB each', value: ({ bytesEach }) => bytesEach / kib, digits: () => 2 },
    { head: 'without files', value: ({ anonymousBytesEach }) => anonymousBytesEach / kib, digits: () => 2 },
  ];
  return table(
    rounds,
    sides,
    ({ memory }) => memory,
    columns,
    (own, reference) => reference.bytesEach / own.bytesEach,
  );
}

function table<M>(
  rounds: Rounds,
  sides: readonly Family[],
  measuredIn: (round: Round) => ReadonlyMap<string, M>,
  columns: readonly Column<M>[],
  ratioOf: (own: M, reference: M) => number | undefined,
): string {
  const reference = sides.at(-1)!;
  const others = sides.filter(side => side !== reference);
  const names = [...new Set([...rounds.values()].flat().flatMap(round => [...measuredIn(round).keys()]))];
  if (names.length === 0) return '';
  const heads = sides.flatMap(side => columns.map(({ head }, i) => (i === 0 ? `${side} ${head}` : head)));
  const ratioHeads = others.map(side => `${side} : ${reference} (range)`);
  const lines = names.map(name => [
    name,
    ...sides.flatMap(side => columns.map(column => cell(side, name, column))),
    ...others.map(side => ratio(side, name)),
  ]);
  return `${alignColumns([['scenario', ...heads, ...ratioHeads], ...lines])}\n`;

  function cell(side: Family, name: string, { value, digits }: Column<M>): string {
    const values = measured(side, name).flatMap(one => value(one) ?? []);
    return values.length === 0 ? '' : median(values).toFixed(digits(name));
  }

  function ratio(side: Family, name: string): string {
    const beside = measured(reference, name);
    const ratios = measured(side, name).flatMap((one, i) => (beside[i] && ratioOf(one, beside[i])) ?? []);
    if (ratios.length === 0) return '';
    return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`;
  }

  function measured(side: Family, name: string): M[] {
    return (rounds.get(side) ?? []).flatMap(round => measuredIn(round).get(name) ?? []);
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)));
  return rows
    .map(row => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
    .join('\n');
}
