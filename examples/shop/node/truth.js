// Truth: what this process served and called, written to a file outside the traffic.
// The format is described in ../README.md. Lines reach the file within a second.
'use strict';
const fs = require('fs');

// Node's wall clock has milliseconds, its steady one nanoseconds. No reading of both shows more than the
// distance between the two, and one at the moment when the millisecond changes shows it, unless this
// process was interrupted in between; of some twenty such moments one is not.
function offset() {
  const until = Date.now() + 20;
  const readings = [];
  while (Date.now() < until) readings.push(BigInt(Date.now()) * 1000000n - process.hrtime.bigint());
  return readings.reduce((most, each) => (each > most ? each : most));
}

const ahead = offset();
const now = () => ahead + process.hrtime.bigint();

class Truth {
  constructor(service) {
    this.file = fs.openSync(process.env.TRUTH, 'a');
    this.lines = [];
    this.numbers = 0;
    this.write({ process: process.pid, service, precision_ns: 200000 });
    setInterval(() => this.flush(), 500).unref();
    process.on('exit', () => this.flush());
  }

  /** A number for a request or call, rising within the process, with the time. */
  begin() {
    return { number: ++this.numbers, at: now() };
  }

  served({ number, at }, local, peer, op, status) {
    this.write({ serve: number, local, peer, begin: at, end: now(), op, status });
  }

  /** A call made for the request numbered `request`. */
  called({ number, at }, request, local, peer, op, status) {
    this.write({ call: number, for: request, local, peer, begin: at, end: now(), op, status });
  }

  write(row) {
    const big = (_, value) => (typeof value === 'bigint' ? `@${value}@` : value);
    this.lines.push(JSON.stringify(row, big).replace(/"@(\d+)@"/g, '$1') + '\n');
  }

  flush() {
    if (this.lines.length === 0) return;
    fs.writeSync(this.file, this.lines.join(''));
    this.lines = [];
  }
}

module.exports = { Truth };
