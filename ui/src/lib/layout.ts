// Where the services of a map are drawn: callers left of those they call, as far as there is an order.

import type { Edge } from './api';

export interface Place {
  name: string;
  /** Whether it is a service that is watched. */
  watched: boolean;
  column: number;
  row: number;
}

export interface Layout {
  places: Map<string, Place>;
  columns: number;
  rows: number;
}

/** Who calls from outside. */
export const OUTSIDE = '(outside)';

/** The names of both ends of an edge. */
export const ends = (edge: Edge): [string, string] => [edge.client ?? OUTSIDE, edge.server];

/**
 * The column of a service is the longest way to it from one that nobody calls. Edges that close a circle
 * are left out of this, the first that is met along the names.
 */
export function layout(services: string[], edges: Edge[]): Layout {
  const watched = new Set(services);
  const names = new Set([...services, ...edges.flatMap(ends)]);
  const called = new Map<string, string[]>([...names].map((name) => [name, []]));
  for (const edge of edges) {
    const [from, to] = ends(edge);
    if (from !== to) called.get(from)?.push(to);
  }
  const columns = new Map<string, number>();
  const open = new Set<string>();
  const visit = (name: string, column: number) => {
    if (open.has(name) || (columns.get(name) ?? -1) >= column) return;
    columns.set(name, column);
    open.add(name);
    for (const next of called.get(name) ?? []) visit(next, column + 1);
    open.delete(name);
  };
  const targets = new Set(edges.filter((edge) => edge.client !== edge.server).map((edge) => edge.server));
  const ordered = [...names].sort();
  for (const name of ordered) if (!targets.has(name)) visit(name, 0);
  // What is left lies on circles that nobody outside of them calls.
  for (const name of ordered) if (!columns.has(name)) visit(name, 0);
  const rows: number[] = [];
  const places = new Map<string, Place>();
  for (const name of ordered) {
    const column = columns.get(name) ?? 0;
    const row = rows[column] ?? 0;
    rows[column] = row + 1;
    places.set(name, { name, watched: watched.has(name), column, row });
  }
  return { places, columns: rows.length, rows: Math.max(0, ...rows.map((row) => row ?? 0)) };
}
