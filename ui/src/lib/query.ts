// The search as part of the address, so that it can be sent to a colleague.

import type { TraceQuery } from './api';

export const EMPTY: TraceQuery = {
  service: '',
  operation: '',
  min_duration: '',
  max_duration: '',
  min_spans: '',
  errors: false,
  start: '-15m',
  end: '',
  limit: 50,
};

/** The query in an address such as `#/?service=cart&errors=true`; what is absent is as in `EMPTY`. */
export function fromHash(hash: string): TraceQuery {
  const given = new URLSearchParams(hash.split('?')[1] ?? '');
  const read = (key: keyof TraceQuery) => given.get(key) ?? String(EMPTY[key]);
  return {
    service: read('service'),
    operation: read('operation'),
    min_duration: read('min_duration'),
    max_duration: read('max_duration'),
    min_spans: read('min_spans'),
    errors: given.get('errors') === 'true',
    start: read('start'),
    end: read('end'),
    limit: Number(read('limit')) || EMPTY.limit,
  };
}

/** The other way round. */
export function toHash(query: TraceQuery): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== EMPTY[key as keyof TraceQuery]) parameters.set(key, String(value));
  }
  return `#/?${parameters}`;
}
