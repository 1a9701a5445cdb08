import { describe, expect, test } from 'vitest';

import type { Span } from './api';
import { reason } from './reason';

const linked = (method: string, more: object = {}) =>
  ({
    kind: 'client',
    parent_span_id: 'a',
    link: { method, relation: 'child', confidence: 0.93, algorithm: 'auto', candidates: 4, ...more },
  }) as unknown as Span;

describe('reason', () => {
  test('every method has a sentence of its own', () => {
    const methods = ['trace-context', 'connection', 'thread', 'coroutine', 'wake', 'queue', 'order', 'inferred'];
    const texts = methods.map((method) => reason(linked(method)).text);
    expect(new Set(texts).size).toBe(methods.length);
    texts.forEach((text) => expect(text).toMatch(/^[A-Z].*\.$/));
  });
  test('a guess says of how many, by what, and how often that is right', () => {
    const { text, sure } = reason(linked('inferred', { algorithm: 'fifo' }));
    expect(sure).toBe('inferred');
    expect(text).toContain('of the 4 requests');
    expect(text).toContain('oldest');
    expect(text).toContain('93');
  });
  test('alone there was nothing to choose from', () => {
    expect(reason(linked('inferred', { candidates: 1 })).text).toContain('no other request was open');
  });
  test('without a link there is none', () => {
    expect(reason({ ...linked('thread'), link: null, parent_span_id: null } as unknown as Span).sure).toBe('none');
  });
});
