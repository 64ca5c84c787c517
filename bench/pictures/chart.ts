/**
 * One panel's data as SVG: lines or stacked areas over time, a big number, or bars of states. Light, with units, axes,
 * thresholds and a legend; no script, so a picture of it is the same everywhere.
 */
import type { FieldDefaults, Line, Panel } from '../../test/support/prometheus.js';

/** A line with the name its legend has. */
export interface NamedLine extends Line {
  readonly name: string;
}

/** Something that happened during the run, drawn as an upright line through every panel. */
export interface Mark {
  readonly seconds: number;
  readonly text: string;
}

/** The time shown, in Unix seconds, and what happened in it. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly marks: readonly Mark[];
}

const palette = [
  ...['#3274d9', '#e0752d', '#37872d', '#a352cc', '#c4162a', '#138a8a', '#b38f00', '#5c6773', '#d44a9c', '#7a5230'],
];
const colors: Readonly<Record<string, string>> = {
  ...{ green: '#37872d', orange: '#e0752d', red: '#c4162a', blue: '#3274d9', yellow: '#b38f00' },
};
const ink = { grid: '#e6e8eb', axis: '#6b7280', text: '#24292e', mark: '#9aa3ad' };
const margin = { left: 62, right: 10, top: 6, bottom: 20 };

/** The panel's drawing, `width` by `height` pixels. */
export function drawPanel(
  panel: Panel,
  lines: readonly NamedLine[],
  span: Span,
  width: number,
  height: number,
): string {
  const shown = lines.filter(({ points }) => points.some(([, value]) => Number.isFinite(value)));
  const body =
    panel.type === 'stat'
      ? stat(panel, shown, span, width, height)
      : panel.type === 'state-timeline'
        ? states(panel, shown, span, width, height)
        : series(panel, shown, span, width, height);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${body}</svg>`;
}

function series(panel: Panel, lines: readonly NamedLine[], span: Span, width: number, height: number): string {
  const defaults = panel.fieldConfig?.defaults as FieldDefaults;
  const legend = legendOf(lines, defaults.unit, width, height);
  const bottom = legend.top - margin.bottom;
  if (lines.length === 0) return text(width / 2, height / 2, defaults.noValue ?? 'no data', ink.axis, 13, 'middle');
  const stacked = defaults.custom?.stacking !== undefined;
  const drawn = stacked ? stack(lines) : lines.map(line => ({ ...line, floor: undefined }));
  const highest = Math.max(...drawn.flatMap(({ points }) => points.map(([, value]) => value).filter(Number.isFinite)));
  const ticks = ticksUpTo(Math.min(highest, defaults.max ?? Number.POSITIVE_INFINITY), defaults.unit);
  const top = ticks.at(-1) ?? 1;
  const x = (seconds: number): number => scale(seconds, span.from, span.to, margin.left, width - margin.right);
  const y = (value: number): number => scale(Math.min(value, top), 0, top, bottom, margin.top);
  const parts = [gridOf(ticks, y, defaults.unit, width), axisOf(span, x, bottom)];
  const limits = defaults.custom?.thresholdsStyle?.mode === 'dashed' ? defaults.thresholds.steps : [];
  for (const { color, value } of limits) {
    if (value === null || value <= 0 || value > top) continue;
    parts.push(rule(margin.left, y(value), width - margin.right, y(value), colors[color] ?? color, '4 4'));
  }
  parts.push(marksOf(span, x, margin.top, bottom));
  for (const [at, { points, floor }] of drawn.entries()) {
    const color = palette[at % palette.length] as string;
    if (floor !== undefined) parts.push(area(points, floor, x, y, color));
    for (const path of paths(points, x, y)) {
      parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`);
    }
  }
  return parts.join('') + legend.svg;
}

/** A name, or the last value in the colour of its threshold above its course. */
function stat(panel: Panel, lines: readonly NamedLine[], span: Span, width: number, height: number): string {
  const defaults = panel.fieldConfig?.defaults as FieldDefaults;
  const last = lines.find(({ points }) => (points.at(-1)?.[0] ?? 0) > span.to - 5);
  const value = last?.points.at(-1)?.[1];
  const mapping = defaults.mappings?.[0]?.options[String(value)];
  const named = panel.options?.textMode === 'name' ? last?.name : undefined;
  const said =
    named ?? mapping?.text ?? (value === undefined ? (defaults.noValue ?? 'no data') : show(value, defaults));
  const color = mapping?.color ?? colorAt(value, defaults);
  const parts: string[] = [];
  if (named === undefined && mapping === undefined && last !== undefined) {
    const highest = Math.max(...last.points.map(([, other]) => other).filter(Number.isFinite)) || 1;
    const x = (seconds: number): number => scale(seconds, span.from, span.to, 8, width - 8);
    const y = (other: number): number => scale(Math.max(0, other), 0, highest, height - 6, height * 0.62);
    const floor = last.points.map(([seconds]) => [seconds, 0] as const);
    parts.push(area(last.points, floor, x, y, colors[color] ?? color));
  }
  const size = Math.min(30, (width * 1.35) / said.length);
  parts.push(text(width / 2, height * 0.48, said, colors[color] ?? color, size, 'middle', 600));
  return parts.join('');
}

function states(panel: Panel, lines: readonly NamedLine[], span: Span, width: number, height: number): string {
  const defaults = panel.fieldConfig?.defaults as FieldDefaults;
  const left = 120;
  const [top, bottom] = [margin.top + 10, height - margin.bottom - 4];
  const rowHeight = (bottom - top) / Math.max(1, lines.length);
  const x = (seconds: number): number => scale(seconds, span.from, span.to, left, width - margin.right);
  const parts = lines.map(({ name, points }, row) => {
    const high = top + row * rowHeight + rowHeight * 0.12;
    const tall = rowHeight * 0.76;
    const bars = runsOf(points).map(({ from, to, value }) => {
      const { text: said = String(value), color = 'blue' } = defaults.mappings?.[0]?.options[String(value)] ?? {};
      const wide = x(to) - x(from);
      const place = `x="${x(from).toFixed(1)}" y="${high}" width="${wide.toFixed(1)}" height="${tall}"`;
      const bar = `<rect ${place} fill="${colors[color]}"/>`;
      const fits = wide > said.length * 7.5;
      return bar + (fits ? text(x(from) + 6, high + tall / 2 + 4, said, '#fff', 12, 'start', 600) : '');
    });
    return text(left - 8, high + tall / 2 + 4, name, ink.text, 12, 'end') + bars.join('');
  });
  return parts.join('') + axisOf(span, x, bottom) + marksOf(span, x, margin.top, bottom);
}

/** Stretches of one value. */
function runsOf(points: Line['points']): { from: number; to: number; value: number }[] {
  const runs: { from: number; to: number; value: number }[] = [];
  for (const [seconds, value] of points) {
    const last = runs.at(-1);
    if (last !== undefined && last.value === value) last.to = seconds + 1;
    else runs.push({ from: seconds, to: seconds + 1, value });
  }
  return runs;
}

type Points = Line['points'];

/** Each line on top of those before it; where one has nothing it adds nothing. */
function stack(lines: readonly NamedLine[]): (NamedLine & { floor: Points })[] {
  const heights = new Map<number, number>();
  const moments = [...new Set(lines.flatMap(({ points }) => points.map(([seconds]) => seconds)))].sort((a, b) => a - b);
  return lines.map(line => {
    const values = new Map(line.points);
    const floor = moments.map(seconds => [seconds, heights.get(seconds) ?? 0] as const);
    const points = moments.map(seconds => {
      const value = values.get(seconds) ?? 0;
      const height = (heights.get(seconds) ?? 0) + (Number.isFinite(value) ? value : 0);
      heights.set(seconds, height);
      return [seconds, height] as const;
    });
    return { ...line, points, floor };
  });
}

function area(
  points: Points,
  floor: Points,
  x: (at: number) => number,
  y: (at: number) => number,
  color: string,
): string {
  const finite = (all: Points): Points => all.filter(([, value]) => Number.isFinite(value));
  const corners = [...finite(points), ...[...finite(floor)].reverse()];
  const path = corners.map(([seconds, value]) => `${x(seconds).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  return `<polygon points="${path}" fill="${color}" fill-opacity="0.35"/>`;
}

/** A line is broken where it has no value for more than two steps. */
function paths(points: Points, x: (at: number) => number, y: (at: number) => number): string[] {
  const found: string[] = [];
  let before = Number.NEGATIVE_INFINITY;
  for (const [seconds, value] of points.filter(point => Number.isFinite(point[1]))) {
    const spot = `${x(seconds).toFixed(1)} ${y(value).toFixed(1)}`;
    if (seconds - before > 2) found.push(`M${spot}`);
    else found[found.length - 1] += `L${spot}`;
    before = seconds;
  }
  return found;
}

/** A table below the drawing, in two columns when there are many lines: name, mean, greatest. */
function legendOf(
  lines: readonly NamedLine[],
  unit: string,
  width: number,
  height: number,
): { readonly top: number; readonly svg: string } {
  const rowHeight = 15;
  const columns = lines.length > 4 && width > 420 ? 2 : 1;
  const rows = Math.min(Math.ceil(lines.length / columns), 6);
  const top = height - rows * rowHeight - rowHeight;
  const columnWidth = (width - 20) / columns;
  const parts: string[] = [];
  for (let column = 0; column < columns && lines.length > 0; column++) {
    const right = 10 + (column + 1) * columnWidth - 8;
    parts.push(
      text(right - 78, top + 10, 'mean', ink.axis, 10, 'end'),
      text(right, top + 10, 'max', ink.axis, 10, 'end'),
    );
  }
  for (const [at, { name, points }] of lines.slice(0, rows * columns).entries()) {
    const left = 10 + Math.floor(at / rows) * columnWidth;
    const base = top + rowHeight * ((at % rows) + 1) + 9;
    const values = points.map(([, value]) => value).filter(Number.isFinite);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const right = left + columnWidth - 8;
    const nameMax = Math.floor((columnWidth - 175) / 6.2);
    const short = name.length > nameMax ? `${name.slice(0, nameMax - 1)}…` : name;
    parts.push(
      `<rect x="${left}" y="${base - 6}" width="12" height="3" fill="${palette[at % palette.length]}"/>`,
      text(left + 18, base, short, ink.text, 11),
      text(right - 78, base, format(mean, unit), ink.text, 11, 'end'),
      text(right, base, format(Math.max(...values), unit), ink.text, 11, 'end'),
    );
  }
  return { top, svg: parts.join('') };
}

function gridOf(ticks: readonly number[], y: (at: number) => number, unit: string, width: number): string {
  return ticks
    .map(tick => {
      const line = rule(margin.left, y(tick), width - margin.right, y(tick), ink.grid);
      return line + text(margin.left - 6, y(tick) + 4, format(tick, unit), ink.axis, 10, 'end');
    })
    .join('');
}

/** Seconds since the beginning, every ten. */
function axisOf(span: Span, x: (at: number) => number, bottom: number): string {
  const parts: string[] = [];
  const last = span.to - span.from;
  for (let seconds = 0; seconds <= last; seconds += 10) {
    const anchor = seconds > last - 5 ? 'end' : 'middle';
    parts.push(text(x(span.from + seconds), bottom + 14, `${seconds} s`, ink.axis, 10, anchor));
  }
  return parts.join('');
}

function marksOf({ marks }: Span, x: (at: number) => number, top: number, bottom: number): string {
  return marks
    .map(({ seconds, text: said }) => {
      const line = rule(x(seconds), top, x(seconds), bottom, ink.mark, '2 3');
      return `${line}<g class="mark">${text(x(seconds) + 3, top + 9, said, ink.axis, 9)}</g>`;
    })
    .join('');
}

function rule(x1: number, y1: number, x2: number, y2: number, color: string, dashes = ''): string {
  const at = [x1, y1, x2, y2].map(place => Math.round(place));
  const dash = dashes === '' ? '' : ` stroke-dasharray="${dashes}"`;
  const ends = `x1="${at[0]}" y1="${at[1]}" x2="${at[2]}" y2="${at[3]}"`;
  return `<line ${ends} stroke="${color}"${dash} shape-rendering="crispEdges"/>`;
}

function text(x: number, y: number, said: string, fill: string, size: number, anchor = 'start', weight = 400): string {
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="${fill}" font-size="${size.toFixed(1)}"`;
  return `<text ${place} font-weight="${weight}" text-anchor="${anchor}">${escaped(said)}</text>`;
}

/** Text as HTML and SVG want it. */
export function escaped(said: string): string {
  return said.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function scale(value: number, from: number, to: number, low: number, high: number): number {
  return low + ((value - from) / (to - from)) * (high - low);
}

function colorAt(value: number | undefined, { thresholds }: FieldDefaults): string {
  let color = 'blue';
  for (const step of thresholds.steps) if (step.value === null || (value ?? 0) >= step.value) color = step.color;
  return color;
}

/** Zero and three to five round numbers above it, the last at or above `highest`. Bytes go by powers of two. */
function ticksUpTo(highest: number, unit: string): number[] {
  if (!(highest > 0)) return [0, 1];
  const base = unit === 'bytes' ? 1024 ** Math.max(0, Math.floor(Math.log(highest) / Math.log(1024))) : 1;
  const rough = highest / base / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find(factor => factor * power >= rough) ?? 10) * power * base;
  const count = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, at) => at * step);
}

function show(value: number, defaults: FieldDefaults): string {
  if (defaults.decimals === undefined || defaults.unit !== 'percentunit') return format(value, defaults.unit);
  return `${(value * 100).toFixed(defaults.decimals)} %`;
}

/** A value with its unit, as Grafana writes it. */
function format(value: number, unit: string): string {
  if (unit === 'percentunit') return `${short(value * 100)} %`;
  if (unit === 's') {
    if (value === 0) return '0 s';
    return value < 1e-3 ? `${short(value * 1e6)} µs` : value < 1 ? `${short(value * 1e3)} ms` : `${short(value)} s`;
  }
  if (unit === 'bytes') return prefixed(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
  if (unit === 'Bps') return prefixed(value, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s']);
  const count = prefixed(value, 1000, ['', 'K', 'M', 'G']).trimEnd();
  return unit === 'ops' ? `${count} /s` : unit === 'reqps' ? `${count} req/s` : count;
}

function prefixed(value: number, base: number, names: readonly string[]): string {
  let [rest, at] = [value, 0];
  while (Math.abs(rest) >= base && at < names.length - 1) [rest, at] = [rest / base, at + 1];
  return `${short(rest)} ${names[at]}`;
}

/** Three digits that count. */
function short(value: number): string {
  if (value === 0) return '0';
  return String(Number(value.toPrecision(3)));
}
