/**
 * Prometheus' text format: whole families as they are written.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goNumber, histogramFamily, scalarFamily } from '../../../src/host/metrics/text.js';

test('bounds are spelled as Go spells them', () => {
  const spelled = [
    [0.00001, '1e-05'],
    [0.0001, '0.0001'],
    [0.0128, '0.0128'],
    [52.4288, '52.4288'],
    [819_200, '819200'],
    [1_048_576, '1.048576e+06'],
    [8_388_608, '8.388608e+06'],
    [2e21, '2e+21'],
    [0, '0'],
  ] as const;
  for (const [value, text] of spelled) assert.equal(goNumber(value), text);
});

test('a family of labelled series, written twice', () => {
  let value = 1;
  const family = scalarFamily('counter', 'calls_total', 'Calls,\nby \\ code.', sink => {
    sink.series([], value);
    sink.series(
      [
        ['Reason', 'a "b"\\c\nd'],
        ['code', 'OK'],
      ],
      0.5,
    );
  });
  const text = (calls: number) => `# HELP calls_total Calls,\\nby \\\\ code.
# TYPE calls_total counter
calls_total ${calls}
calls_total{Reason="a \\"b\\"\\\\c\\nd",code="OK"} 0.5`;
  assert.equal(family.text(), text(1));
  value = 2;
  assert.equal(family.text(), text(2));
});

test('a histogram adds its buckets up', () => {
  const family = histogramFamily('took_seconds', 'Time.', sink => {
    sink.histogram([['op', 'Put']], [0.5, 1], [3, 2, 1], 4.25);
    sink.histogram([], [1], [0, 0], 0);
  });
  assert.equal(
    family.text(),
    `# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{op="Put",le="0.5"} 3
took_seconds_bucket{op="Put",le="1"} 5
took_seconds_bucket{op="Put",le="+Inf"} 6
took_seconds_sum{op="Put"} 4.25
took_seconds_count{op="Put"} 6
took_seconds_bucket{le="1"} 0
took_seconds_bucket{le="+Inf"} 0
took_seconds_sum 0
took_seconds_count 0`,
  );
});
