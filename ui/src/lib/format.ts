// Numbers as people read them.

/** Three significant digits and a unit: `1.25 ms`. */
export function duration(ns: number): string {
  const units: [number, string][] = [
    [1e9, 's'],
    [1e6, 'ms'],
    [1e3, 'µs'],
  ];
  for (const [size, unit] of units) {
    if (ns >= size) return `${significant(ns / size)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** `17:03:21.042` in the reader's time zone. */
export function clock(time: bigint): string {
  const date = new Date(Number(time / 1_000_000n));
  return `${date.toLocaleTimeString(undefined, { hour12: false })}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Date and time of day in the reader's time zone. */
export function moment(time: bigint): string {
  return `${new Date(Number(time / 1_000_000n)).toLocaleDateString()} ${clock(time)}`;
}

/** `1.4 KiB`. */
export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${significant(count / 1024)} KiB`;
  return `${significant(count / 1024 / 1024)} MiB`;
}

/** `97 %`, never rounded up to certainty. */
export function percent(share: number): string {
  if (share >= 1) return '100 %';
  return `${share > 0.99 ? Math.floor(share * 1000) / 10 : Math.round(share * 100)} %`;
}

/** `1 span`, `2 spans`. */
export function count(n: number, noun: string): string {
  return `${n.toLocaleString()} ${noun}${n === 1 ? '' : 's'}`;
}

function significant(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
