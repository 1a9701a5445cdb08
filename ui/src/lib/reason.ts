// Why a span has this parent, in one sentence.

import type { Span } from './api';
import { percent } from './format';

const OBSERVED: Record<string, string> = {
  'trace-context': 'The application sent its own trace id along, and exactly this request carries it.',
  connection: 'Both ends saw the same exchange: its byte positions on the connection agree.',
  thread: 'The thread that made this call worked for this request and for no other in between.',
  coroutine: 'The goroutine, task or coroutine that made this call worked for this request.',
  wake: 'Whoever worked for this request woke up the thread that made this call.',
  queue: 'What was put into a queue here was taken out of it there.',
};

/** What an algorithm goes by, where nothing was observed. */
const ALGORITHMS: Record<string, string> = {
  auto: 'its delays, and the calls that such requests make, fit best',
  fifo: 'it is the oldest that had not called there yet',
  wap5: 'it is recent, as delays of such calls go',
  vpath: 'its thread made the call',
  traceweaver: 'the delays of all calls together fit best so',
  deepflow: 'its thread made the call',
  deeptrace: 'its fields and delays are the most alike',
};

export interface Reason {
  text: string;
  sure: 'observed' | 'inferred' | 'none';
}

/** One sentence on how the parent was found. */
export function reason(span: Span): Reason {
  if (!span.link || span.parent_span_id === null) {
    const none =
      span.kind === 'server' ? 'Root: nobody who is watched sent this request.' : 'No answer: no request is sure enough.';
    return { text: none, sure: 'none' };
  }
  const { method, algorithm, confidence, candidates } = span.link;
  const open = candidates ? `the ${candidates} requests that were open` : 'the requests that were open';
  if (candidates === 1 && (method === 'order' || method === 'inferred')) {
    return { text: `Nothing was observed, but no other request was open; ${percent(confidence)} of such answers are right.`, sure: 'inferred' };
  }
  if (method === 'order') {
    return { text: `Of ${open} this one had waited longest for such a call, and that order was seen to hold here.`, sure: 'inferred' };
  }
  if (method === 'inferred') {
    const why = ALGORITHMS[algorithm] ?? `${algorithm} says so`;
    return { text: `Nothing was observed; of ${open} this is the likeliest: ${why}. ${percent(confidence)} of such answers are right.`, sure: 'inferred' };
  }
  return { text: OBSERVED[method] ?? method, sure: 'observed' };
}
