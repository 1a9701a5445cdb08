#!/usr/bin/env python3
"""The sample application: `shop.py up`, `load`, `status`, `down`, `packages`. See README.md."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import load
import processes
from build import BuildError, build, run
from parts import BASE_PORT, HERE, PARTS, SERVERS, Shop, as_postgres, find, missing_packages

READY_WITHIN_S = 60
SCRATCH_PREFIX = "shop-postgres-"


class ShopError(Exception):
    """What went wrong, and what to do."""


def main():
    options = arguments()
    try:
        return options.act(options) or 0
    except (ShopError, BuildError) as error:
        print(f"shop: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while something was built
        return 130


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    home = HERE.parent.parent / "out"

    def command(name, act, text):
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(act=act)
        added.add_argument("--dir", default=home / "shop", type=Path, help="folder of the running shop")
        return added

    added = command("up", up, "build and start all parts; runs until Ctrl-C or SIGTERM")
    added.add_argument("--cache", default=home / "shop-cache", type=Path, help="folder for what is built")
    added.add_argument("--base-port", default=BASE_PORT, type=int, help="nginx; the others follow")
    added.add_argument("--no-install", action="store_true", help="only start; all was built before")
    added = command("load", load.run, "send requests at a steady rate and count the answers")
    load.options(added)
    command("status", status, "name the running parts with their memory")
    command("down", down, "end what `up` started")
    command("packages", packages, "print the Debian packages that are missing here")
    added = command("build", lambda options: build(options.cache), "only build")
    added.add_argument("--cache", default=home / "shop-cache", type=Path, help="folder for what is built")
    return parser.parse_args()


def up(options):
    begun = time.monotonic()
    shop = Shop(options.dir, options.cache, options.base_port)
    state = shop.run / "state.json"
    known = processes.read(state)
    if known and any(map(processes.is_running, [known, *known["parts"].values()])):
        raise ShopError(f"already running: end it with 'shop.py down --dir {options.dir}'")
    remove_scratch(known)
    check_ports(shop)
    if not options.no_install:
        build(shop.cache)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupt)
    parts = processes.Processes(state)
    scratch = None
    try:
        scratch = prepare(shop)
        for name in PARTS:
            parts.start(name, shop.command(name), shop.environment(name), shop.log / f"{name}.log")
            parts.save(ready=False, scratch=str(scratch or ""))
            wait_ready(shop, name, parts)
        parts.save(ready=True, scratch=str(scratch or ""), ports=shop.ports, truth=str(shop.truth))
        print(f"shop: ready at http://127.0.0.1:{shop.ports['nginx']}/ "
              f"after {time.monotonic() - begun:.1f} s, truth in {shop.truth}", flush=True)
        watch(shop, parts)
    except KeyboardInterrupt:
        print("shop: stopping", flush=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        killed = parts.stop()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    if killed:
        raise ShopError(f"had to kill {', '.join(killed)}")


def interrupt(number, _frame):
    raise KeyboardInterrupt


def check_ports(shop):
    for name, port in shop.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ShopError(f"port {port} for {name}: {error.strerror}; choose others with "
                                f"--base-port") from None


def prepare(shop):
    """Makes the folders and the database; returns a folder to remove afterwards, or None."""
    for folder in (shop.truth, shop.log):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(shop.run / "postgres", ignore_errors=True)
    for folder in (shop.truth, shop.log, shop.run / "redis", shop.run / "nginx"):
        folder.mkdir(parents=True, exist_ok=True)
    (shop.truth / "ports.json").write_text(json.dumps(shop.ports) + "\n")
    (shop.run / "nginx/nginx.conf").write_text(shop.nginx_configuration())
    scratch = None
    if os.geteuid() == 0:
        # PostgreSQL runs as another user, who may not reach the folder of the shop.
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        shutil.chown(scratch, "postgres", "postgres")
        shop.postgres = scratch / "data"
    try:
        prepare_postgres(shop)
    except BaseException:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    return scratch


def remove_scratch(known):
    """Removes the database of a shop that was killed."""
    scratch = Path((known or {}).get("scratch") or ".")
    if scratch.name.startswith(SCRATCH_PREFIX):
        shutil.rmtree(scratch, ignore_errors=True)


def prepare_postgres(shop):
    initdb = [find("initdb"), "-D", str(shop.postgres), "--no-sync", "--auth=trust",
              "--username=shop", "--encoding=UTF8", "--locale=C"]
    run([*as_postgres(), *initdb], cwd="/")
    settings = {"listen_addresses": "'127.0.0.1'", "port": shop.ports["postgres"],
                "unix_socket_directories": "''", "fsync": "off", "synchronous_commit": "off",
                "full_page_writes": "off", "shared_buffers": "'16MB'", "max_connections": 40,
                "autovacuum": "off", "jit": "off"}
    with open(shop.postgres / "postgresql.conf", "a", encoding="ascii") as file:
        file.writelines(f"{key} = {value}\n" for key, value in settings.items())
    # Single-user mode: the tables are there before the server is. It takes a statement a line.
    lines = [line for line in (HERE / "schema.sql").read_text().splitlines() if not line.startswith("--")]
    statements = [" ".join(each.split()) for each in "\n".join(lines).split(";\n") if each.strip()]
    single = [*as_postgres(), find("postgres"), "--single", "-D", str(shop.postgres)]
    for database, text in (("postgres", "CREATE DATABASE shop"), ("shop", "\n".join(statements))):
        done = subprocess.run([*single, "-c", "exit_on_error=on", database], cwd="/", text=True,
                              input=text.replace(";", "") + "\n", capture_output=True)
        if done.returncode != 0:
            raise ShopError(f"failed to fill the database: {done.stderr.strip()[-1000:]}")


def wait_ready(shop, name, parts):
    until = time.monotonic() + READY_WITHIN_S
    while not is_ready(shop, name):
        ended = parts.ended()
        if ended:
            raise ShopError(death(shop, *ended))
        if time.monotonic() > until:
            raise ShopError(f"{name} is not ready after {READY_WITHIN_S} s{tail(shop, name)}")
        time.sleep(0.03)


def is_ready(shop, name):
    port = shop.ports[name]
    try:
        if name == "postgres":
            done = subprocess.run([find("psql"), "-XqtA", "-h", "127.0.0.1", "-p", str(port),
                                   "-U", "shop", "-d", "shop", "-c", "SELECT 1"],
                                  cwd="/", capture_output=True)
            return done.returncode == 0
        if name in SERVERS and name != "nginx":
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def watch(shop, parts):
    """Until a part ends, which it should not, or a signal comes."""
    while True:
        ended = parts.ended()
        if ended:
            raise ShopError(death(shop, *ended))
        time.sleep(0.2)


def death(shop, name, code):
    return f"{name} ended with {code}{tail(shop, name)}"


def tail(shop, name):
    try:
        text = (shop.log / f"{name}.log").read_text(errors="replace").strip()[-1500:]
    except OSError:
        text = ""
    return f"; its log ends with:\n{text}" if text else ""


def down(options):
    state = options.dir / "state.json"
    known = processes.read(state)
    if not known:
        print("shop: not running")
        return
    if not processes.end(known, signal.SIGTERM, 60):
        raise ShopError(f"pid {known['pid']} did not end")
    # Where `up` itself was killed, its parts were asked to end; make sure.
    for name, part in reversed(known["parts"].items()):
        if not processes.end(part, signal.SIGTERM, 10) and not processes.end(part, signal.SIGKILL, 5):
            raise ShopError(f"{name}, pid {part['pid']}, did not end")
    remove_scratch(known)
    state.unlink(missing_ok=True)
    print("shop: stopped")


def status(options):
    known = processes.read(options.dir / "state.json")
    if not known or not processes.is_running(known):
        print("shop: not running")
        return 1
    total = 0
    for name, part in known["parts"].items():
        memory = processes.resident_kb(part["pid"]) if processes.is_running(part) else 0
        total += memory
        print(f"{name:<12} pid {part['pid']:<8} {memory / 1024:8.1f} MB")
    print(f"{'all':<21} {total / 1024:12.1f} MB")
    return 0


def packages(_options):
    print("\n".join(missing_packages()))


if __name__ == "__main__":
    sys.exit(main())
