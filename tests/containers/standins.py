"""Stand-ins for the images that docker-compose.yaml and docker/Dockerfile start from, for machines that reach no image registry.

`python -m tests.containers.standins` makes those that are missing, under the names of the published ones and with the label
`my-feast.stand-in`: Debian bookworm by mmdebstrap with this machine's way to Debian, PyPI and Maven, and the servers of
tests/services. They have the programs and folders that the Compose file uses, and no more; versions are Debian's own where the
name promises a newer one. Needs root, Debian's mmdebstrap, and a Docker engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.containers.engine import LABEL, DockerFailed, docker, has_image, needed_images
from tests.services import downloads

BASE = "my-feast/stand-in:bookworm"
FOLDER = Path(__file__).parent / "images"
# broker-api-versions is not among what the broker needs
KAFKA_TOOLS = downloads.KAFKA.replace(":kafka_2.13:", ":kafka-tools:")
AUTHORITIES = Path("/usr/local/share/ca-certificates")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
APT = Path("/etc/apt/apt.conf.d")
# file of this machine -> folder of the image
SETTINGS = {
    Path("/etc/pip.conf"): "/etc",
    Path.home() / ".config" / "pip" / "pip.conf": "/etc",
    Path.home() / ".m2" / "settings.xml": "/etc/maven",
}


def main() -> int:
    """Make what is missing; 1 when something cannot be made."""
    missing = [image for image in needed_images() if not has_image(image)]
    try:
        if missing and not has_image(BASE):
            _timed(BASE, make_base)
        for image in missing:
            _timed(image, partial(make, image))
    except (downloads.Unavailable, subprocess.CalledProcessError, DockerFailed, OSError) as error:
        sys.stderr.write(f"standins: {error}\n")
        return 1
    return 0


def make_base() -> None:
    """Debian as mmdebstrap makes it, and as this machine reaches package registries: authorities, sources, pip, Maven."""
    hooks = [f"copy-in {file} {folder}" for file, folder in SETTINGS.items() if file.exists()]
    hooks = [f'mkdir -p "$1{folder}"' for folder in sorted(set(SETTINGS.values()))] + hooks
    hooks += [f"copy-in {file} {AUTHORITIES}" for file in sorted(AUTHORITIES.glob("*.crt"))]
    hooks.append('chroot "$1" update-ca-certificates')
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"]
    command += [f"--aptopt={file}" for file in sorted(APT.glob("*")) if "Acquire::Check" in file.read_text()]
    command += [f"--customize-hook={hook}" for hook in hooks]
    command += ["bookworm", "-", *([str(SOURCES)] if SOURCES.exists() else [])]
    # where packages are found on this machine only has no meaning in an image
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "LINKS" not in name}
    changes = [part for name, value in variables.items() for part in ("--change", f"ENV {name}={value}")]
    with tempfile.TemporaryFile() as archive:
        subprocess.run(command, stdout=archive, check=True)
        archive.seek(0)
        subprocess.run(["docker", "import", *changes, "-", BASE], stdin=archive, stdout=subprocess.DEVNULL, check=True)


def make(image: str) -> None:
    """One stand-in: the Dockerfile of its name below `images`, and the server beside it."""
    name = image.rpartition("/")[2].partition(":")[0]
    with tempfile.TemporaryDirectory(prefix="my-feast-image-") as scratch:
        context = Path(scratch) / name
        shutil.copytree(FOLDER / name, context)
        if name in FILES:
            FILES[name](context)
        docker("build", "--quiet", "--network=host", f"--label={LABEL}", f"--tag={image}", str(context))


def _jars(*coordinates: str) -> Callable[[Path], None]:
    def copy(context: Path) -> None:
        (context / "jars").mkdir()
        for jar in downloads.maven_jars(*coordinates):
            shutil.copy(jar, context / "jars")

    return copy


def _azurite(context: Path) -> None:
    node, main = (Path(each) for each in downloads.azurite())
    shutil.copy(node.resolve(), context / "node")
    shutil.copytree(main.parents[5], context / "packages", symlinks=True)


def _timed(name: str, work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    sys.stdout.write(f"{name}: made in {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()


FILES: dict[str, Callable[[Path], None]] = {
    "hadoop": _jars(downloads.HADOOP, downloads.SLF4J),
    "kafka": _jars(KAFKA_TOOLS, downloads.KAFKA),
    "azurite": _azurite,
}

if __name__ == "__main__":
    sys.exit(main())
