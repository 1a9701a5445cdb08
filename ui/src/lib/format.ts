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
  return moment(time).slice(11, 23);
}

/** `2026-12-01 17:03:21.042+01:00` (RFC 3339), date and time of day in the reader's time zone. */
export function moment(time: bigint): string {
  const date = new Date(Number(time / 1_000_000n));
  const ahead = -date.getTimezoneOffset();
  const shifted = new Date(date.getTime() + ahead * 60_000).toISOString().slice(0, 23).replace('T', ' ');
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0');
  return `${shifted}${ahead < 0 ? '-' : '+'}${two(Math.abs(ahead) / 60)}:${two(Math.abs(ahead) % 60)}`;
}

/** `1.4 KiB`. */
export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${significant(count / 1024)} KiB`;
  return `${significant(count / 1024 / 1024)} MiB`;
}

/** `97 %`, never rounded up to certainty nor down to none. */
export function percent(share: number): string {
  if (share >= 1) return '100 %';
  if (share > 0 && share < 0.001) return '<0.1 %';
  return `${share < 0.01 || share > 0.99 ? Math.floor(share * 1000) / 10 : Math.round(share * 100)} %`;
}

/** `1 span`, `2 spans`. */
export function count(n: number, noun: string): string {
  return `${n.toLocaleString()} ${noun}${n === 1 ? '' : 's'}`;
}

function significant(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
