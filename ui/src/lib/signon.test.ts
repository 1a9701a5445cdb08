import { expect, test } from 'vitest';
import { returned } from './signon';

test('only who comes from the provider has come back', () => {
  expect(returned('')).toBeNull();
  expect(returned('?code=a')).toBeNull();
  expect(returned('?token=a')).toBeNull();
  expect(returned('?code=a&state=b&iss=c')?.get('iss')).toBe('c');
  expect(returned('?error=access_denied&state=b')?.get('error')).toBe('access_denied');
});
