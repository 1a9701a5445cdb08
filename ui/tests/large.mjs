// A trace of 5,001 spans, as an SDK reports it: six services, three levels, some errors.

const SERVICES = ['orders', 'warehouse', 'pricing', 'search', 'mailer'];
/** Spans of one report: one is at most 16 MiB. */
const REPORT = 2000;

/** Reports the trace to the server at `base`, gives back its id once the whole of it can be asked for. */
export async function reportLarge(base) {
  const traceId = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const start = BigInt(Date.now()) * 1_000_000n - 10_000_000_000n;
  const spans = [];
  const add = (service, parent, kind, name, offset, duration, failed = false) => {
    const spanId = (spans.length + 1).toString(16).padStart(16, '0');
    const from = start + BigInt(offset);
    const status = { code: failed ? 2 : 1 };
    spans.push({ service, span: { traceId, spanId, parentSpanId: parent, kind, name, startTimeUnixNano: `${from}`, endTimeUnixNano: `${from + BigInt(duration)}`, status } });
    return spanId;
  };
  const root = add('gateway', '', 2, 'GET /many', 0, 5_200_000_000);
  for (let part = 0; part < 500; part++) {
    const service = SERVICES[part % SERVICES.length];
    const from = part * 10_000_000;
    const call = add('gateway', root, 3, 'GET /part', from, 9_000_000);
    const served = add(service, call, 2, 'GET /part', from + 500_000, 8_000_000, part % 40 === 7);
    for (let query = 0; query < 8; query++) add(service, served, 3, `SELECT ${part}.${query}`, from + 600_000 + query * 900_000, 700_000);
  }
  for (let at = 0; at < spans.length; at += REPORT) await report(base, spans.slice(at, at + REPORT));
  for (let tries = 0; tries < 100; tries++) {
    const answer = await fetch(new URL(`/traces/${traceId}`, base));
    if (answer.ok && (await answer.json()).spans.length === spans.length) return { traceId, count: spans.length };
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error(`trace ${traceId} of ${spans.length} spans was reported and never came`);
}

async function report(base, spans) {
  const services = [...new Set(spans.map(({ service }) => service))];
  const resourceSpans = services.map((name) => ({
    resource: { attributes: [{ key: 'service.name', value: { stringValue: name } }] },
    scopeSpans: [{ spans: spans.filter(({ service }) => service === name).map(({ span }) => span) }],
  }));
  const answer = await fetch(new URL('/v1/traces', base), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resourceSpans }),
  });
  if (!answer.ok) throw new Error(`/v1/traces answered ${answer.status}: ${await answer.text()}`);
}
