import { readFileSync } from 'node:fs';

import { describe, expect, test } from 'vitest';

import { COLOURS, colour } from './colour';

const css = readFileSync(new URL('../app.css', import.meta.url), 'utf8');
const themes = css.split(":root[data-theme='dark']");

/** Lightness and the two axes of colour of OKLab; in it equal distances look alike. */
type Lab = [number, number, number];
const distance = (a: Lab, b: Lab) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

// https://www.w3.org/TR/css-color-4/#color-conversion-code, by way of the LMS of OKLab.
function fromHex(hex: string): Lab {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as Lab;
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function inTheme(text: string, theme: string): Lab {
  const value = (name: string) => Number(new RegExp(`--service-${name}: ([0-9.]+)`).exec(theme)?.[1]);
  const [, shade, hue] = /\+ ([0-9.]+)\) var\(--service-chroma\) ([0-9.]+)/.exec(text) ?? [];
  const turn = (Number(hue) * Math.PI) / 180;
  const chroma = value('chroma');
  return [value('lightness') + Number(shade), chroma * Math.cos(turn), chroma * Math.sin(turn)];
}

describe.each([['light', themes[0] ?? ''], ['dark', themes[1] ?? '']])('%s', (_, theme) => {
  const colours = COLOURS.map((text) => inTheme(text, theme));
  test('no service looks like an error', () => {
    const error = fromHex(/--error: (#[0-9a-f]{6})/.exec(theme)?.[1] ?? '');
    for (const one of colours) expect(distance(one, error)).toBeGreaterThan(0.12);
  });
  test('no two colours are alike', () => {
    colours.forEach((a, i) => colours.slice(i + 1).forEach((b) => expect(distance(a, b)).toBeGreaterThan(0.06)));
  });
});

test('the colour depends on the name alone, and names spread over all', () => {
  expect(colour('cart')).toBe(colour('cart'));
  const names = Array.from({ length: 400 }, (_, i) => `service-${i}`);
  expect(new Set(names.map(colour)).size).toBe(COLOURS.length);
});
