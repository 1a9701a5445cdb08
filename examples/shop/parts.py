"""The parts of the shop: what each needs, how it is made and started, and when it is ready."""

import glob
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Port of each part, counted from the base port; in the order in which they are started.
PARTS = {"redis": 9, "postgres": 10, "catalog": 2, "cart": 3, "recommend": 4, "shipping": 7,
         "ledger": 8, "payment": 6, "checkout": 5, "storefront": 1, "nginx": 0}
SERVERS = ("redis", "postgres", "nginx")
SERVICES = tuple(name for name in PARTS if name not in SERVERS)
GO_SERVICES = ("recommend", "checkout", "shipping", "ledger")
BASE_PORT = 18300

# Command that must be there -> Debian package that has it.
COMMANDS = {"nginx": "nginx", "redis-server": "redis-server", "postgres": "postgresql",
            "node": "nodejs", "npm": "npm", "go": "golang-go", "javac": "default-jdk-headless",
            "jar": "default-jdk-headless", "setpriv": "util-linux"}


def find(command):
    """Path of a command, also where Debian keeps those that are not in PATH; None if absent."""
    if command in ("postgres", "initdb", "psql"):
        versions = glob.glob(f"/usr/lib/postgresql/*/bin/{command}")
        if versions:
            return max(versions, key=lambda path: int(Path(path).parts[4]))
    extra = "/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:{extra}")


def missing_packages():
    """Debian packages whose commands are not there."""
    names = {package for command, package in COMMANDS.items() if not find(command)}
    try:
        import ensurepip  # noqa: F401  Debian splits it off; venv needs it
    except ImportError:
        names.add("python3-venv")
    return sorted(names)


class Shop:
    """Where a running shop has its files and ports."""

    def __init__(self, run, cache, base_port):
        self.run, self.cache = Path(run).resolve(), Path(cache).resolve()
        self.ports = {name: base_port + offset for name, offset in PARTS.items()}
        self.truth, self.log = self.run / "truth", self.run / "log"
        self.postgres = self.run / "postgres"

    def environment(self, name):
        """Environment of a service: its port, its truth file, and the ports of all others."""
        ports = {f"{part.upper()}_PORT": str(port) for part, port in self.ports.items()}
        return {**os.environ, **ports, "PORT": str(self.ports[name]),
                "TRUTH": str(self.truth / f"{name}.jsonl"), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, name):
        """How a part is started."""
        if name in GO_SERVICES:
            return [str(self.cache / "go" / name)]
        return {
            "redis": [find("redis-server"), "--port", str(self.ports["redis"]),
                      "--bind", "127.0.0.1", "--save", "", "--dir", str(self.run / "redis")],
            "postgres": [*as_postgres(), find("postgres"), "-D", str(self.postgres)],
            "nginx": [find("nginx"), "-c", str(self.run / "nginx" / "nginx.conf"),
                      "-p", str(self.run / "nginx"), "-e", str(self.log / "nginx.log")],
            "catalog": [str(self.cache / "venv/bin/python"), str(HERE / "python/catalog.py")],
            "storefront": [str(self.cache / "venv/bin/python"), str(HERE / "python/storefront.py")],
            "cart": [find("node"), str(self.cache / "node/cart.js")],
            "payment": [find("java"), "-Xmx64m", "-XX:+UseSerialGC",
                        "-Dsun.net.httpserver.nodelay=true",
                        "-Dsun.net.httpserver.idleInterval=300",
                        "-jar", str(self.cache / "java/payment.jar")],
        }[name]

    def nginx_configuration(self):
        """nginx.conf with the names filled in."""
        user = "user www-data;" if os.geteuid() == 0 else ""
        text = (HERE / "nginx.conf").read_text()
        for key, value in {"RUN": self.run, "PORT": self.ports["nginx"], "USER": user,
                           "STOREFRONT": self.ports["storefront"]}.items():
            text = text.replace(f"@{key}@", str(value))
        return text


def as_postgres():
    """Words before a command that PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return [find("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]


def python():
    """The interpreter that runs this program, not a wrapper around it."""
    return os.path.realpath(sys.executable)
