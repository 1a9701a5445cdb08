import { describe, expect, test } from 'vitest';

import { parse, type Span } from './api';
import { bytes, clock, duration, moment, percent } from './format';
import { EMPTY, fromHash, toHash } from './query';
import { above, contains, extent, onOneClock, rows, selfTime, visible } from './tree';

const span = (span_id: string, parent_span_id: string | null, start: number, duration_ns: number) =>
  ({ span_id, parent_span_id, start_time_unix_nano: BigInt(start), duration_ns }) as Span;

const tree = [
  span('a', null, 1000, 100),
  span('c', 'a', 1050, 30),
  span('b', 'a', 1010, 30),
  span('d', 'b', 1012, 5),
];

test('spans are moved by what the clock of their host is ahead', () => {
  const here = { ...span('a', null, 1000, 100), end_time_unix_nano: 1100n, attributes: { 'host.name': 'here' } };
  const there = { ...span('b', 'a', 5010, 30), end_time_unix_nano: 5040n, attributes: { 'host.name': 'there' } };
  const clock = { host_name: 'there', ahead_ns: 4000, uncertainty_ns: 10, exchange_count: 1 };
  const moved = onOneClock([here, there], [clock]);
  expect(moved.map((s) => [s.start_time_unix_nano, s.end_time_unix_nano])).toEqual([[1000n, 1100n], [1010n, 1040n]]);
});

describe('rows', () => {
  test('parents come before children, children by start', () => {
    expect(rows(tree, new Set()).map((r) => `${r.span.span_id}${r.depth}+${r.offset}`)).toEqual([
      'a0+0',
      'b1+10',
      'd2+12',
      'c1+50',
    ]);
  });
  test('nothing is shown below a collapsed span', () => {
    expect(rows(tree, new Set(['b'])).map((r) => r.span.span_id)).toEqual(['a', 'b', 'c']);
  });
  test('each says which of its siblings it is', () => {
    const found = rows(tree, new Set()).map((r) => `${r.span.span_id}${r.position}/${r.siblings}`);
    expect(found).toEqual(['a1/1', 'b1/2', 'd1/1', 'c2/2']);
  });
  test('a span whose parent is missing stands at the top, a circle does not hang', () => {
    expect(rows([span('x', 'gone', 1, 1)], new Set())).toHaveLength(1);
    expect(rows([span('x', 'y', 1, 1), span('y', 'x', 1, 1)], new Set())).toHaveLength(0);
  });
});

test('the spans above one are its parents, and a circle ends', () => {
  const known = (spans: Span[]) => new Map(spans.map((s) => [s.span_id, s]));
  expect(above(known(tree), 'd')).toEqual(['b', 'a']);
  expect(above(known(tree), 'a')).toEqual([]);
  expect(above(known([span('x', 'y', 1, 1), span('y', 'x', 1, 1)]), 'x')).toEqual(['y', 'x']);
});

test('a span is found by what is said of it', () => {
  const call = {
    ...span('a1', null, 1, 1), service: 'Cart', name: 'GET /items', kind: 'client', protocol: 'http',
    attributes: { 'http.response.status_code': 500 },
  } as Span;
  const found = ['cart', '/items', 'status_code=500', 'a1', 'stock'].map((text) => contains(call, text));
  expect(found).toEqual([true, true, true, true, false]);
});

test('the rows in a window, and some beyond', () => {
  expect(visible(5000, 29, 200, 860)).toEqual({ first: 0, end: 35 });
  expect(visible(5000, 29, -29_000, 870)).toEqual({ first: 988, end: 1042 });
  expect(visible(5000, 29, -29 * 5000 + 870, 870)).toEqual({ first: 4958, end: 5000 });
  expect(visible(3, 29, -10_000, 870)).toEqual({ first: 3, end: 3 });
});

test('times are RFC 3339 with the offset of the reader', () => {
  const time = 1_796_118_869_547_123_456n;
  expect(moment(time)).toMatch(/^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.547[+-]\d{2}:\d{2}$/);
  expect(Date.parse(moment(time))).toBe(1_796_118_869_547);
  expect(moment(time)).toContain(` ${clock(time)}`);
});

test('time of its own leaves out overlapping children once', () => {
  expect(selfTime(tree[0]!, tree)).toBe(40);
  expect(selfTime(tree[0]!, [...tree, span('e', 'a', 1020, 30)])).toBe(30);
  expect(extent(tree)).toBe(100);
});

test('nanoseconds of the epoch stay exact where the engine can', () => {
  const { t_unix_nano } = parse<{ t_unix_nano: bigint }>('{"t_unix_nano":1763978400123456789}');
  expect(t_unix_nano - 1763978400123456789n).toBeLessThan(300n);
});

test('numbers read well', () => {
  expect([duration(950), duration(1250), duration(12_500_000), duration(2e9)]).toEqual([
    '950 ns',
    '1.25 µs',
    '12.5 ms',
    '2.00 s',
  ]);
  expect([bytes(85), bytes(2048), percent(0.9996), percent(1), percent(0.5)]).toEqual([
    '85 B',
    '2.00 KiB',
    '99.9 %',
    '100 %',
    '50 %',
  ]);
  expect([percent(0), percent(0.0002), percent(0.006), percent(0.0099), percent(0.01)]).toEqual([
    '0 %',
    '<0.1 %',
    '0.6 %',
    '0.9 %',
    '1 %',
  ]);
});

test('a search survives its way through the address', () => {
  const query = { ...EMPTY, service: 'cart & co', errors: true, min_duration: '100ms' };
  expect(fromHash(toHash(query))).toEqual(query);
  expect(fromHash('#/')).toEqual(EMPTY);
});
