// A colour for each service, the same on every page and every visit.

const HUES = [211, 145, 32, 280, 350, 178, 55, 240, 95, 315, 15, 195];
const taken = new Map<string, number>();

/** CSS colour of a service. The first twelve seen get hues of their own. */
export function colour(service: string): string {
  let index = taken.get(service);
  if (index === undefined) {
    const used = new Set(taken.values());
    index = hash(service) % HUES.length;
    for (let step = 0; used.has(index) && step < HUES.length; step++) index = (index + 1) % HUES.length;
    taken.set(service, index);
  }
  return `hsl(${HUES[index]} var(--service-saturation) var(--service-lightness))`;
}

function hash(text: string): number {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619) >>> 0;
  return value;
}
