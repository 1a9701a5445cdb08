"""Truth: what this process served and called, written to a file outside the traffic.

The format is described in ../README.md. Lines are buffered and reach the file within a second.
"""

import atexit
import itertools
import json
import os
import threading
import time


class Truth:
    """One process's truth file, named by the environment variable TRUTH."""

    def __init__(self, service):
        self._file = open(os.environ["TRUTH"], "a", buffering=1 << 16, encoding="ascii")
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._write({"process": os.getpid(), "service": service, "precision_ns": 100_000})
        atexit.register(self._file.close)
        threading.Thread(target=self._flush_often, daemon=True).start()

    def next(self):
        """A number for a request or call, rising within the process."""
        return next(self._numbers)

    def served(self, number, local, peer, begin, operation, status):
        """The request `number` was answered; ports of this and of the other end."""
        self._write({"serve": number, "local": local, "peer": peer, "begin": begin,
                     "end": time.time_ns(), "op": operation, "status": status})

    def called(self, number, request, local, peer, begin, operation, status):
        """The call `number` was made for the request numbered `request`."""
        self._write({"call": number, "for": request, "local": local, "peer": peer, "begin": begin,
                     "end": time.time_ns(), "op": operation, "status": status})

    def _write(self, row):
        line = json.dumps(row, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(line)

    def _flush_often(self):
        while True:
            time.sleep(0.5)
            with self._lock:
                self._file.flush()
