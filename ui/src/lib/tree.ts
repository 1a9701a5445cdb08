// A trace as rows of a waterfall.

import type { Clock, Span } from './api';

export interface Row {
  span: Span;
  depth: number;
  children: number;
  /** Which of the spans with the same parent it is, from 1, and how many those are. */
  position: number;
  siblings: number;
  /** Offset of its start from the start of the trace, in nanoseconds. */
  offset: number;
}

/** Rows in order: parents before their children, children by start, nothing below `collapsed`. */
export function rows(spans: Span[], collapsed: ReadonlySet<string>): Row[] {
  const known = new Set(spans.map((span) => span.span_id));
  const children = new Map<string | null, Span[]>();
  for (const span of spans) {
    const parent = span.parent_span_id !== null && known.has(span.parent_span_id) ? span.parent_span_id : null;
    const siblings = children.get(parent);
    if (siblings) siblings.push(span);
    else children.set(parent, [span]);
  }
  for (const siblings of children.values()) siblings.sort(byStart);
  const start = earliest(spans);
  const result: Row[] = [];
  const visited = new Set<string>();
  const level = (parent: string | null, depth: number) => {
    const all = children.get(parent) ?? [];
    return all.map((span, at) => ({ span, depth, position: at + 1, siblings: all.length })).reverse();
  };
  const stack = level(null, 0);
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { span, depth } = next;
    if (visited.has(span.span_id)) continue;
    visited.add(span.span_id);
    const below = children.get(span.span_id)?.length ?? 0;
    result.push({ ...next, children: below, offset: Number(span.start_time_unix_nano - start) });
    if (collapsed.has(span.span_id)) continue;
    for (const child of level(span.span_id, depth + 1)) stack.push(child);
  }
  return result;
}

/** A copy of `set` with or without `member`. */
export function withMember(set: ReadonlySet<string>, member: string, inside: boolean): ReadonlySet<string> {
  const copy = new Set(set);
  if (inside) copy.add(member);
  else copy.delete(member);
  return copy;
}

/** Ids of the spans above `id`, from its parent up. */
export function above(spans: ReadonlyMap<string, Span>, id: string): string[] {
  const found = new Set<string>();
  let next = spans.get(id)?.parent_span_id;
  while (next && spans.has(next) && !found.has(next)) {
    found.add(next);
    next = spans.get(next)?.parent_span_id;
  }
  return [...found];
}

/** Whether what a row or the panel says of `span` contains `text`, which is in lower case. */
export function contains(span: Span, text: string): boolean {
  const said = [span.service, span.name, span.kind, span.protocol, span.span_id, span.status_message ?? ''];
  for (const [name, value] of Object.entries(span.attributes)) said.push(`${name}=${String(value)}`);
  return said.some((part) => part.toLowerCase().includes(text));
}

/**
 * The rows, from `first` up to `end`, that a window of `height` pixels shows of a list of `count` rows of
 * `row` pixels which begins `top` pixels below the window's upper edge. Some beyond either edge are among them.
 */
export function visible(count: number, row: number, top: number, height: number): { first: number; end: number } {
  const MARGIN = 12;
  const first = Math.floor(-top / row) - MARGIN;
  const end = Math.ceil((height - top) / row) + MARGIN;
  const within = (at: number) => Math.max(0, Math.min(count, at));
  return { first: within(first), end: within(end) };
}

/** The spans with their times on the clock of the first one's host. */
export function onOneClock(spans: Span[], clocks: Clock[]): Span[] {
  const ahead = new Map(clocks.map((clock) => [clock.host_name, BigInt(clock.ahead_ns)]));
  return spans.map((span) => {
    const by = ahead.get(String(span.attributes['host.name']));
    if (by === undefined) return span;
    return {
      ...span,
      start_time_unix_nano: span.start_time_unix_nano - by,
      end_time_unix_nano: span.end_time_unix_nano - by,
    };
  });
}

/** Start of the earliest span. */
export function earliest(spans: Span[]): bigint {
  return spans.reduce(
    (least, span) => (span.start_time_unix_nano < least ? span.start_time_unix_nano : least),
    spans[0]?.start_time_unix_nano ?? 0n,
  );
}

/** From the earliest start to the latest end, in nanoseconds. */
export function extent(spans: Span[]): number {
  const start = earliest(spans);
  return spans.reduce((most, span) => Math.max(most, Number(span.start_time_unix_nano - start) + span.duration_ns), 0);
}

/** Time of `span` in which none of its children ran, in nanoseconds. */
export function selfTime(span: Span, spans: Span[]): number {
  const intervals = spans
    .filter((child) => child.parent_span_id === span.span_id && child.link?.relation !== 'follows')
    .map((child) => {
      const from = Math.max(0, Number(child.start_time_unix_nano - span.start_time_unix_nano));
      return { from, to: Math.min(span.duration_ns, from + child.duration_ns) };
    })
    .sort((a, b) => a.from - b.from);
  let busy = 0;
  let reached = 0;
  for (const { from, to } of intervals) {
    busy += Math.max(0, to - Math.max(from, reached));
    reached = Math.max(reached, to);
  }
  return span.duration_ns - busy;
}

function byStart(a: Span, b: Span): number {
  if (a.start_time_unix_nano !== b.start_time_unix_nano) {
    return a.start_time_unix_nano < b.start_time_unix_nano ? -1 : 1;
  }
  return a.span_id < b.span_id ? -1 : 1;
}
