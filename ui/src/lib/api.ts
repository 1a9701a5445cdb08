// What the server answers (docs: /openapi.json), and how to ask it.

/** Nanoseconds since the Unix epoch. A number would lose the last digits. */
export type UnixNano = bigint;

export interface TraceSummary {
  trace_id: string;
  service: string;
  name: string;
  start_time_unix_nano: UnixNano;
  duration_ns: number;
  span_count: number;
  error_count: number;
  services: { name: string; span_count: number }[];
  incomplete: boolean;
}

export interface Link {
  method: string;
  relation: string;
  confidence: number;
  algorithm: string;
  candidates?: number;
}

export type AttributeValue = string | number | boolean | string[];

export interface Span {
  trace_id: string;
  span_id: string;
  parent_span_id: string | null;
  kind: string;
  name: string;
  service: string;
  start_time_unix_nano: UnixNano;
  end_time_unix_nano: UnixNano;
  duration_ns: number;
  status: 'ok' | 'error' | 'unset';
  status_message?: string | null;
  protocol: string;
  attributes: Record<string, AttributeValue>;
  request_size: number;
  response_size: number;
  link?: Link | null;
  request_payload?: string | null;
  response_payload?: string | null;
  unknown?: string[];
  truncated?: boolean;
  lost_events?: number;
}

export interface Gap {
  from_unix_nano: UnixNano;
  to_unix_nano: UnixNano;
  cause: string;
  events: number;
  bytes: number;
}

export interface Trace {
  trace_id: string;
  spans: Span[];
  gaps: Gap[];
  cut_at: number | null;
  /** Hosts whose clocks differ from that of the first span's host. */
  clocks: Clock[];
}

export interface Clock {
  host_name: string;
  ahead_ns: number;
  uncertainty_ns: number;
  exchange_count: number;
}

export interface Service {
  name: string;
  span_count: number;
  error_count: number;
}

export interface Operation {
  name: string;
  kind: string;
  protocol: string;
  span_count: number;
}

/** Who asks: a user, or the bearer of a token. */
export interface Caller {
  kind: 'anonymous' | 'admin_token' | 'token' | 'user' | 'oidc';
  name: string;
  /** What people call them, where the name is made for machines. */
  label?: string;
  role: string;
  services: string[] | null;
}

/** Sums of spans; times are nanoseconds. */
export interface Sums {
  span_count: number;
  error_count: number;
  rate: number;
  error_rate: number;
  p50_ns: number | null;
  p95_ns: number | null;
  p99_ns: number | null;
  max_ns: number;
}

export interface Edge extends Sums {
  client: string | null;
  server: string;
  is_service: boolean;
  protocol: string;
}

export interface Topology {
  services: { name: string; served: Sums; called: Sums }[];
  edges: Edge[];
  is_cut: boolean;
}

export interface Alerts {
  rules: {
    name: string;
    kind: string;
    severity: string;
    evaluated_unix_nano: UnixNano;
    error: string | null;
    instances: { phase: string; summary: string; value: number; since_unix_nano: UnixNano }[];
  }[];
  webhooks: {
    name: string;
    is_signed: boolean;
    delivered_unix_nano: UnixNano | null;
    failures: number;
    error: string | null;
  }[];
}

/** How a test message went. */
export interface Outcome {
  webhook: string;
  delivered: boolean;
  error: string | null;
}

export interface TraceQuery {
  service: string;
  operation: string;
  min_duration: string;
  max_duration: string;
  /** Empty: any number. */
  min_spans: string;
  errors: boolean;
  start: string;
  end: string;
  limit: number;
}

/** An answer of the server that is not what was asked for. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Parses JSON, keeping times of nanoseconds exact. */
export function parse<T>(text: string): T {
  // The third argument is newer than TypeScript's library; without it the last digits are rounded.
  const revive = (key: string, value: unknown, context?: { source?: string }) =>
    key.endsWith('_unix_nano') && typeof value === 'number'
      ? BigInt(context?.source ?? Math.round(value))
      : value;
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown) as T;
}

/** Told to the window when the server asks who we are: the session has ended. */
export const UNAUTHORIZED = 'unauthorized';

const get = <T>(path: string, signal?: AbortSignal) => ask<T>(path, signal ? { signal } : {});

async function ask<T>(path: string, options: RequestInit): Promise<T> {
  const response = await fetch(path, options);
  const text = await response.text();
  if (response.status === 401) dispatchEvent(new Event(UNAUTHORIZED));
  if (!response.ok) {
    throw new ApiError(response.status, message(text) ?? `the server answered ${response.status}`);
  }
  return parse<T>(text);
}

async function post<T>(path: string, body?: object): Promise<T> {
  const json = body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {};
  const response = await fetch(path, { method: 'POST', ...json });
  const text = await response.text();
  if (!response.ok) {
    throw new ApiError(response.status, message(text) ?? `the server answered ${response.status}`);
  }
  return parse<T>(text);
}

function message(body: string): string | undefined {
  try {
    return (JSON.parse(body) as { error?: { message?: string } }).error?.message;
  } catch {
    return undefined;
  }
}

/** Who asks, whether nothing is shown without logging in, and what a button for single sign-on says. */
export const who = () => get<{ required: boolean; caller: Caller | null; oidc: string | null }>('login');

/** Name and password for a session, which the browser keeps as a cookie. */
export const logIn = (name: string, password: string) => post<Caller>('login', { name, password });

/** Where the browser goes for single sign-on. */
export const signOn = async () => (await post<{ url: string }>('login/oidc')).url;

/** The code that the browser came back with, for a session. */
export const redeem = (code: string, state: string, iss: string | null) =>
  post<Caller>('login/oidc/code', { code, state, iss });

/** Ends the session. */
export const logOut = () => post<unknown>('logout');

/** A page of traces, newest first. */
export function traces(
  query: TraceQuery,
  cursor: string | null,
  signal?: AbortSignal,
): Promise<{ traces: TraceSummary[]; next_cursor: string | null }> {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...query, cursor })) {
    if (value !== '' && value !== null && value !== false) parameters.set(key, String(value));
  }
  return get(`traces?${parameters}`, signal);
}

/** One whole trace; `id` is a trace id, or the id of one of its spans. */
export const trace = (id: string, signal?: AbortSignal) =>
  get<Trace>(`traces/${encodeURIComponent(id)}`, signal);

/** All services seen. */
export const services = async () => (await get<{ services: Service[] }>('analytics/services')).services;

/** All operations of a service. */
export const operations = async (service: string) =>
  (await get<{ operations: Operation[] }>(`analytics/operations?service=${encodeURIComponent(service)}`))
    .operations;

/** The service map since a time. */
export const topology = (start: string, signal?: AbortSignal) =>
  get<Topology>(`analytics/topology?start=${encodeURIComponent(start)}`, signal);

/** Rules with what holds now, and how the webhooks do. */
export const alerts = () => get<Alerts>('alerts');

/** Has a message sent to a webhook; how it went. An empty token is not sent. */
export async function testAlerts(webhook: string, token: string): Promise<Outcome[]> {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (token !== '') headers['authorization'] = `Bearer ${token}`;
  const body = JSON.stringify({ webhook });
  const answer = await ask<{ outcomes: Outcome[] }>('alerts/test', { method: 'POST', headers, body });
  return answer.outcomes;
}

/** Calls `found` for each trace as it settles, until the returned function is called. */
export function live(
  found: (trace: TraceSummary) => void,
  skipped: (batches: number) => void,
  state: (connected: boolean) => void,
): () => void {
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const connect = () => {
    const address = new URL('ws/traces', location.href);
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
    address.hash = '';
    socket = new WebSocket(address);
    socket.onopen = () => state(true);
    socket.onmessage = (event) => {
      const told = parse<TraceSummary | { skipped: { batches: number } }>(String(event.data));
      if ('skipped' in told) skipped(told.skipped.batches);
      else found(told);
    };
    socket.onclose = () => {
      state(false);
      if (!stopped) timer = setTimeout(connect, 1000 + Math.random() * 1000);
    };
  };
  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket?.close();
  };
}
