"""Processes that are started together and ended by pid."""

import json
import os
import signal
import subprocess
import time

from parts import find


def started(pid):
    """When a process was started, in clock ticks since boot; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def resident_kb(pid):
    """Resident memory of a process with its children, without what they share."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
    except OSError:
        return total
    return total + sum(resident_kb(int(child)) for child in children)


class Processes:
    """The running parts, with a file that names them for `down` and `status`."""

    def __init__(self, state):
        self._state = state
        self._children = {}  # in the order of their start

    def start(self, name, command, environment, log):
        """Starts a part. It is asked to end when this process dies, whatever of."""
        words = [find("setpriv"), "--pdeathsig", "TERM", "--", *command]
        if "--reuid=postgres" in command:  # a change of user would forget the signal
            words = [*command[:command.index("--")], "--pdeathsig", "INT",
                     *command[command.index("--"):]]
        with open(log, "ab") as output:
            self._children[name] = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)

    def ended(self):
        """Name and exit status of a part that ended by itself; None while all run."""
        for name, child in self._children.items():
            if child.poll() is not None:
                return name, child.returncode
        return None

    def save(self, **more):
        """Writes the file; `more` goes into it too."""
        parts = {name: {"pid": child.pid, "started": started(child.pid)}
                 for name, child in self._children.items()}
        text = json.dumps({"pid": os.getpid(), "started": started(os.getpid()), "parts": parts, **more},
                          indent=1)
        temporary = self._state.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self._state)

    def stop(self):
        """Ends all, the last started first; returns the names of those that had to be killed."""
        killed = []
        for name, child in reversed(self._children.items()):
            if child.poll() is None:
                # PostgreSQL calls it a fast shutdown; the others end at SIGTERM.
                child.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                    killed.append(name)
        self._state.unlink(missing_ok=True)
        return killed


def read(state):
    """What `save` wrote; None where nothing was started."""
    try:
        return json.loads(state.read_text())
    except (OSError, ValueError):
        return None


def is_running(entry):
    """Whether it is still the same process, not another one with its pid."""
    return entry["started"] is not None and started(entry["pid"]) == entry["started"]


def end(entry, number, patience_s):
    """Sends a signal and waits; whether it ended."""
    if not is_running(entry):
        return True
    os.kill(entry["pid"], number)
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if not is_running(entry):
            return True
        time.sleep(0.05)
    return False
