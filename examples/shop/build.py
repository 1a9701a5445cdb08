"""Installs the services' libraries and builds them, into a cache folder; what is there and
unchanged is left as it is."""

import hashlib
import shutil
import subprocess
import threading

from parts import GO_SERVICES, HERE, find, missing_packages, python


class BuildError(Exception):
    """What could not be built, and what to do."""


def build(cache):
    """Builds everything that changed, the four languages side by side."""
    packages = missing_packages()
    if packages:
        raise BuildError(f"missing commands: run 'apt-get install {' '.join(packages)}'")
    cache.mkdir(parents=True, exist_ok=True)
    errors = []

    def attempt(name, step):
        try:
            if_changed(cache, name, step)
        except (BuildError, OSError) as error:
            errors.append(f"{name}: {error}")

    steps = {"python": build_python, "node": build_node, "go": build_go, "java": build_java}
    threads = [threading.Thread(target=attempt, args=each) for each in steps.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise BuildError("\n".join(errors))


def if_changed(cache, name, step):
    """Runs a step unless it ran on the same files with the same tools."""
    digest = hashlib.sha256(python().encode())
    for path in sorted((HERE / name).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and "node_modules" not in path.parts:
            digest.update(str(path.relative_to(HERE)).encode() + path.read_bytes())
    stamp = cache / f"{name}.stamp"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    print(f"shop: building {name}\n", end="", flush=True)
    step(cache)
    stamp.write_text(digest.hexdigest())


def build_python(cache):
    shutil.rmtree(cache / "venv", ignore_errors=True)
    run([python(), "-m", "venv", str(cache / "venv")])
    run([str(cache / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--no-input",
         "--disable-pip-version-check", "--only-binary=:all:",
         "-r", str(HERE / "python/requirements.txt")])


def build_node(cache):
    folder = cache / "node"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    run([find("npm"), "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder)


def build_go(cache):
    (cache / "go").mkdir(exist_ok=True)
    run([find("go"), "build", "-buildvcs=false", "-o", str(cache / "go") + "/", *(f"./{name}" for name in GO_SERVICES)],
        cwd=HERE / "go")


def build_java(cache):
    folder = cache / "java"
    shutil.rmtree(folder, ignore_errors=True)
    run([find("javac"), "--release", "17", "-d", str(folder / "classes"),
         *map(str, sorted((HERE / "java/shop").glob("*.java")))])
    run([find("jar"), "--create", "--file", str(folder / "payment.jar"),
         "--main-class", "shop.Payment", "-C", str(folder / "classes"), "."])


def run(command, cwd=None):
    """Runs a command to its end; its output is the error."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout.strip()[-2000:]}")
