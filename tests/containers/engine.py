"""The Docker engine of this machine, and the images that the Compose file needs from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE = CHECKOUT / "docker-compose.yaml"
DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
LABEL = "my-feast.stand-in"
OWN = "my-feast/"


class DockerFailed(Exception):
    """A docker command failed; the text says which, and what it said."""


def docker(*arguments: str) -> str:
    """What docker printed on standard output; DockerFailed when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    if done.returncode:
        said = f"{done.stdout[-3000:]}{done.stderr[-6000:]}"
        raise DockerFailed(f"`docker {' '.join(arguments)}` ended with {done.returncode}:\n{said}")
    return done.stdout


def needed_images() -> list[str]:
    """Names of the images that are built nowhere here: of the services without a profile, and of docker/Dockerfile."""
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    images = {service["image"] for service in services if "profiles" not in service}
    froms = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    return sorted({image for image in images if not image.startswith(OWN)} | set(froms))


def has_image(name: str) -> bool:
    """Whether the engine has it."""
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


def described(image: str) -> str:
    """An image's name, and whether it is a stand-in or, with the label of what it was built from, stands on one."""
    if LABEL not in docker("image", "inspect", "--format", "{{json .Config.Labels}}", image):
        return image
    return f"{image} ({'on a ' if image.startswith(OWN) else ''}stand-in)"


def lacking() -> str:
    """Why containers cannot be driven here; empty when they can."""
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        return "docker has no Compose"
    missing = [image for image in needed_images() if not has_image(image)]
    return (
        f"the engine lacks {', '.join(missing)} (docker pull, or python -m tests.containers.standins)"
        if missing
        else ""
    )
