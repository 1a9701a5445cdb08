// A colour for each service, the same on every page and every visit: it depends on the name alone.

// Of the circle of hues the part around red is left out: red says error.
const HUES = [85, 115, 145, 175, 210, 245, 275, 305, 335];
/** Added to the lightness of the theme. */
const SHADES = [0, 0.17];

/** All there are. */
export const COLOURS = SHADES.flatMap((shade) =>
  HUES.map((hue) => `oklch(calc(var(--service-lightness) + ${shade}) var(--service-chroma) ${hue})`),
);

/** CSS colour of a service. Two names may share one; the name stands beside it everywhere. */
export function colour(service: string): string {
  return COLOURS[hash(service) % COLOURS.length] ?? '';
}

/** FNV-1a; its last bits are mixed once more, as names that end alike differ little in them. */
function hash(text: string): number {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}
