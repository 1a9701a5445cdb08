// Why a span has this parent, in words.

import type { Span } from './api';

const METHODS: Record<string, string> = {
  'trace-context': 'the application sent its own trace id along',
  connection: 'both ends of the same exchange: byte positions on the connection agree',
  thread: 'the same thread worked for this request and for no other in between',
  coroutine: 'the same goroutine, task or coroutine worked for this request',
  wake: 'a wake-up handed the work over',
  queue: 'an item in a queue handed the work over',
  order: 'order: the first request that waits for such a call',
  inferred: 'a statistical guess: nothing was observed',
};

export interface Reason {
  text: string;
  sure: 'observed' | 'inferred' | 'none';
}

/** One sentence on how the parent was found. */
export function reason(span: Span): Reason {
  if (!span.link || span.parent_span_id === null) {
    const none =
      span.kind === 'server' ? 'root: nobody who is watched sent this request' : 'no answer: no request is sure enough';
    return { text: none, sure: 'none' };
  }
  const text = METHODS[span.link.method] ?? span.link.method;
  const weak = span.link.method === 'inferred' || span.link.method === 'order';
  return { text, sure: weak ? 'inferred' : 'observed' };
}
