// Truth: what this process served and called, written to a file outside the traffic.
// The format is described in ../README.md. Lines reach the file within a second.
'use strict';
const fs = require('fs');

// Node's wall clock has milliseconds, its steady one nanoseconds: the distance between the two is
// taken once, at the moment when the wall clock's millisecond changes.
function offset() {
  const millisecond = Date.now();
  while (Date.now() === millisecond);
  return BigInt(Date.now()) * 1000000n - process.hrtime.bigint();
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
