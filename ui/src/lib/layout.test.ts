import { expect, test } from 'vitest';

import type { Edge } from './api';
import { layout } from './layout';

const sums = { span_count: 1, error_count: 0, rate: 1, error_rate: 0, p50_ns: 1, p95_ns: 1, p99_ns: 1, max_ns: 1 };
const edge = (client: string | null, server: string): Edge => ({
  ...sums,
  client,
  server,
  is_service: true,
  protocol: 'http',
});
const columns = (services: string[], edges: Edge[]) =>
  Object.fromEntries([...layout(services, edges).places].map(([name, place]) => [name, place.column]));

test('callers are left of those they call, by the longest way', () => {
  const edges = [edge(null, 'front'), edge('front', 'cart'), edge('cart', 'db'), edge('front', 'db')];
  expect(columns(['front', 'cart', 'db'], edges)).toEqual({ '(outside)': 0, front: 1, cart: 2, db: 3 });
});

test('a circle ends', () => {
  const found = columns(['a', 'b'], [edge('a', 'b'), edge('b', 'a'), edge('a', 'a')]);
  expect(found).toEqual({ a: 0, b: 1 });
});

test('each place is taken once', () => {
  const { places, rows } = layout(['a', 'b', 'c'], []);
  expect(new Set([...places.values()].map((place) => `${place.column} ${place.row}`)).size).toBe(3);
  expect(rows).toBe(3);
});
