/**
 * Families of series as Prometheus' text format 0.0.4 writes them.
 *
 *     # HELP name what it is
 *     # TYPE name counter
 *     name{label="value"} 17
 *
 * An endpoint has two thousand series. What stands before the numbers is made once and kept: prom-client's own formatting
 * takes several milliseconds for as many, during which the main thread would serve nobody.
 */

export type FamilyType = 'counter' | 'gauge' | 'histogram';

/** Names and values, in the order in which they are written. */
export type Labels = readonly (readonly [name: string, value: string])[];

/** Takes the series of a family. */
export interface SeriesSink {
  series(labels: Labels, value: number): void;
}

/** Takes the histograms of a family; `counts` has one more than `bounds`, each its own and not the sum of those below. */
export interface HistogramSink {
  histogram(labels: Labels, bounds: readonly number[], counts: ArrayLike<number>, sum: number): void;
}

/** A family that can be written at any time. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: FamilyType;
  /** All of it, without a line's end behind the last line. */
  text(): string;
}

/** A counter or a gauge; `collect` hands its series to the sink. */
export function scalarFamily(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  collect: (sink: SeriesSink) => void,
): Family {
  const heads = new Map<string, string>();
  const headsOfLabels = new WeakMap<Labels, string>();
  const lines: string[] = [];
  const sink: SeriesSink = {
    series: (labels, value) => {
      let head = headsOfLabels.get(labels);
      if (head === undefined) {
        head = headOf(heads, name, labels);
        headsOfLabels.set(labels, head);
      }
      lines.push(head + value);
    },
  };
  const text = (): string => {
    lines.push(...preface(name, help, type));
    collect(sink);
    return lines.splice(0).join('\n');
  };
  return { name, help, type, text };
}

/** A histogram, or one for each of several label sets. */
export function histogramFamily(name: string, help: string, collect: (sink: HistogramSink) => void): Family {
  const heads = new Map<string, HistogramHeads>();
  const lines: string[] = [];
  const sink: HistogramSink = {
    histogram: (labels, bounds, counts, sum) => {
      const { buckets, sum: sumHead, count } = histogramHeads(heads, name, labels, bounds);
      let total = 0;
      buckets.forEach((head, at) => {
        total += counts[at] as number;
        lines.push(head + total);
      });
      lines.push(sumHead + sum, count + total);
    },
  };
  const text = (): string => {
    lines.push(...preface(name, help, 'histogram'));
    collect(sink);
    return lines.splice(0).join('\n');
  };
  return { name, help, type: 'histogram', text };
}

/** A number as Go's %g with the shortest digits, which is how etcd spells `le`. */
export function goNumber(value: number): string {
  const [mantissa = '0', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return String(value);
  const digits = String(Math.abs(exponent)).padStart(2, '0');
  return `${mantissa}e${exponent < 0 ? '-' : '+'}${digits}`;
}

interface HistogramHeads {
  readonly buckets: readonly string[];
  readonly sum: string;
  readonly count: string;
}

/** Label sets that are remembered; more than any endpoint has. */
const headsMax = 10_000;

function preface(name: string, help: string, type: FamilyType): string[] {
  return [`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${type}`];
}

function headOf(heads: Map<string, string>, name: string, labels: Labels): string {
  if (labels.length === 0) return `${name} `;
  const key = labels.map(([, value]) => value).join('\n');
  let head = heads.get(key);
  if (head === undefined) {
    if (heads.size >= headsMax) heads.clear();
    head = `${name}${labelText(labels)} `;
    heads.set(key, head);
  }
  return head;
}

function histogramHeads(
  heads: Map<string, HistogramHeads>,
  name: string,
  labels: Labels,
  bounds: readonly number[],
): HistogramHeads {
  const key = labels.map(([, value]) => value).join('\n');
  const known = heads.get(key);
  if (known !== undefined) return known;
  const le = [...bounds.map(goNumber), '+Inf'];
  const made: HistogramHeads = {
    buckets: le.map(bound => `${name}_bucket${labelText([...labels, ['le', bound]])} `),
    sum: `${name}_sum${labelText(labels)} `,
    count: `${name}_count${labelText(labels)} `,
  };
  if (heads.size >= headsMax) heads.clear();
  heads.set(key, made);
  return made;
}

function labelText(labels: Labels): string {
  if (labels.length === 0) return '';
  return `{${labels.map(([name, value]) => `${name}="${escaped(value)}"`).join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
