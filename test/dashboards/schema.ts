/**
 * What of Grafana's own dashboard schema our dashboards use: names, kinds and values. Each was compiled against the types
 * of @grafana/schema 12.0.0 (the image in compose.yml) and 13.2.3, with all that is required there; a field that is not
 * here Grafana may ignore without a word, so it is to be looked up before it is added.
 *
 *     'text' | 'number' | 'boolean' | 'threshold'   a value          ['a', 'b']   one of these
 *     { name: shape, 'name?': shape }               an object        [[shape]]    a list
 */

type Shape = 'text' | 'number' | 'boolean' | 'threshold' | readonly string[] | readonly [readonly [Shape]] | Fields;
interface Fields {
  readonly [name: string]: Shape;
}

const reference: Fields = { type: ['prometheus'], uid: ['${' + 'datasource}'] };
const gridPos: Fields = { x: 'number', y: 'number', w: 'number', h: 'number' };
const steps: Shape = [[{ color: ['blue', 'green', 'orange', 'red'], value: 'threshold' }]];
const mappedText: Fields = { text: 'text', color: ['blue', 'green', 'red', 'yellow'], index: 'number' };
const mapping: Fields = { type: ['value'], options: { '*': mappedText } };
const target: Fields = {
  ...{ refId: 'text', expr: 'text', legendFormat: 'text' },
  ...{ 'instant?': 'boolean', 'range?': 'boolean' },
};
const defaults: Fields = {
  unit: 'text',
  thresholds: { mode: ['absolute'], steps },
  ...{ 'min?': 'number', 'max?': 'number', 'decimals?': 'number', 'noValue?': 'text', 'mappings?': [[mapping]] },
};
const lines: Fields = {
  ...{ fillOpacity: 'number', lineWidth: 'number', showPoints: ['never', 'auto', 'always'] },
  'stacking?': { mode: ['none', 'normal', 'percent'], group: 'text' },
  thresholdsStyle: { mode: ['off', 'line', 'dashed', 'area'] },
};
const legend: Fields = {
  ...{ showLegend: 'boolean', displayMode: ['list', 'table', 'hidden'], placement: ['bottom', 'right'] },
  calcs: [[['mean', 'max', 'min', 'lastNotNull']]],
};
const tooltip: Fields = { mode: ['single', 'multi', 'none'], sort: ['asc', 'desc', 'none'] };
const stat: Fields = {
  reduceOptions: { calcs: [[['lastNotNull']]] },
  textMode: ['auto', 'value', 'value_and_name', 'name', 'none'],
  colorMode: ['value', 'background', 'background_solid', 'none'],
  ...{ graphMode: ['none', 'line', 'area'], justifyMode: ['auto', 'center'] },
  orientation: ['auto', 'vertical', 'horizontal'],
  percentChangeColorMode: ['standard', 'inverted', 'same_as_value'],
  ...{ showPercentChange: 'boolean', wideLayout: 'boolean' },
};
const timeline: Fields = {
  ...{ mergeValues: 'boolean', showValue: ['auto', 'never', 'always'], rowHeight: 'number', legend, tooltip },
};

function panel(type: string, options: Fields, custom: Fields): Fields {
  return {
    ...{ id: 'number', type: [type], title: 'text', description: 'text', gridPos, datasource: reference, options },
    fieldConfig: { defaults: { ...defaults, ...custom }, overrides: [[{}]] },
    targets: [[target]],
  };
}

const panels: Readonly<Record<string, Fields>> = {
  row: { id: 'number', type: ['row'], title: 'text', collapsed: 'boolean', gridPos, panels: [[{}]] },
  stat: panel('stat', stat, {}),
  timeseries: panel('timeseries', { legend, tooltip }, { custom: lines }),
  'state-timeline': panel('state-timeline', timeline, {}),
};

const variable: Fields = {
  ...{ name: 'text', label: 'text', type: ['datasource', 'query'], query: 'text', 'datasource?': reference },
  ...{ 'refresh?': 'number', 'sort?': 'number', 'multi?': 'boolean', 'includeAll?': 'boolean', 'allValue?': 'text' },
  'current?': { text: 'text', value: 'text' },
};
const dashboard: Fields = {
  ...{
    uid: 'text',
    title: 'text',
    description: 'text',
    tags: [['text']],
    schemaVersion: 'number',
    editable: 'boolean',
  },
  ...{ graphTooltip: 'number', refresh: 'text', time: { from: 'text', to: 'text' }, timezone: ['browser', 'utc', ''] },
  links: [
    [
      {
        ...{ type: ['dashboards', 'link'], title: 'text', tags: [['text']], icon: 'text', tooltip: 'text' },
        ...{ asDropdown: 'boolean', keepTime: 'boolean', includeVars: 'boolean', targetBlank: 'boolean' },
      },
    ],
  ],
  templating: { list: [[variable]] },
};

/** What in a dashboard's JSON is not as the schema has it, each with its path. */
export function faultsOf(json: object): string[] {
  const { panels: found, ...rest } = json as { readonly panels: readonly { readonly type: string }[] };
  const ofPanels = found.flatMap((each, at) => {
    const shape = panels[each.type];
    return shape === undefined ? [`panels ${at}: type ${each.type}`] : faults(each, shape, `panels ${at}`);
  });
  return [...faults(rest, dashboard, ''), ...ofPanels];
}

function faults(value: unknown, shape: Shape, path: string): string[] {
  if (typeof shape === 'string') return isOf(value, shape) ? [] : [`${path}: ${JSON.stringify(value)} is no ${shape}`];
  if (Array.isArray(shape)) {
    const inner: unknown = shape[0];
    if (typeof inner === 'string') {
      return shape.includes(value) ? [] : [`${path}: ${JSON.stringify(value)} is none of ${shape.join(', ')}`];
    }
    if (!Array.isArray(value)) return [`${path}: no list`];
    return value.flatMap((each, at) => faults(each, (inner as readonly [Shape])[0], `${path} ${at}`));
  }
  if (typeof value !== 'object' || value === null) return [`${path}: no object`];
  const fields = shape as Fields;
  const required = Object.keys(fields).filter(name => !name.endsWith('?') && name !== '*' && !(name in value));
  const each = Object.entries(value).flatMap(([name, inner]) => {
    const known = fields[name] ?? fields[`${name}?`] ?? fields['*'];
    return known === undefined ? [`${path} ${name}: not in the schema`] : faults(inner, known, `${path} ${name}`);
  });
  return [...required.map(name => `${path} ${name}: missing`), ...each];
}

function isOf(value: unknown, kind: 'text' | 'number' | 'boolean' | 'threshold'): boolean {
  if (kind === 'threshold') return value === null || typeof value === 'number';
  return typeof value === (kind === 'text' ? 'string' : kind);
}
