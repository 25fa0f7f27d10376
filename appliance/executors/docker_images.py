"""Having an image: look, pull with progress a person can read, and say in one sentence why it cannot be had."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import aiodocker
import aiohttp

from appliance.errors import ImageError, SandboxError
from appliance.executors.base import Container, Credentials, Progress
from appliance.executors.docker_plan import DockerOptions, Image

# Of the engine's answers to a pull: the user's trouble. Everything else (timeouts, a full disk) is the engine's.
_USERS_TROUBLE = (
    "not found",
    "manifest unknown",
    "no matching manifest",
    "does not exist",
    "invalid reference",
    "denied",
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
)


async def have_image(docker: aiodocker.Docker, container: Container, options: DockerOptions, progress: Progress) -> Image:
    """The image of `container`, pulled when it is absent. Raises ImageError or SandboxError."""
    if options.pull != "always":
        found = await inspect(docker, container.image)
        if found is not None:
            return found
    await _pull(docker, container, options.pull_report_s, progress)
    found = await inspect(docker, container.image)
    if found is None:
        raise ImageError(f"image {container.image} was pulled, but the engine does not know it; is the name complete?")
    return found


async def inspect(docker: aiodocker.Docker, image: str) -> Image | None:
    """An image that the engine has; None when it has not. Raises ImageError or SandboxError."""
    try:
        return Image.of(await docker.images.inspect(image))
    except aiodocker.DockerError as problem:
        if problem.status == 404:
            return None
        if problem.status == 400:
            raise ImageError(f"{image!r} is not the name of an image: {problem.message}") from problem
        raise SandboxError(f"cannot look for image {image}: {problem.message}") from problem


async def _pull(docker: aiodocker.Docker, container: Container, report_s: float, progress: Progress) -> None:
    image = container.image
    await progress(f"Pulling image {image}\n".encode())
    report = _PullReport(image)
    reported_at = time.monotonic()
    credentials = container.credentials if container.log_in is None else await container.log_in()
    try:
        name = canonical(image) if credentials else image
        auth = _auth(credentials)
        async for event in docker.images.pull(name, auth=auth, stream=True):
            report.take(event)
            if time.monotonic() - reported_at >= report_s:
                reported_at = time.monotonic()
                await progress(report.line())
    except aiodocker.DockerError as problem:
        raise _trouble(image, problem.message) from problem
    except (aiohttp.ClientError, OSError, TimeoutError) as problem:
        raise SandboxError(f"pulling image {image} broke off: {problem}") from problem
    await progress(f"Pulled image {image}\n".encode())


def _trouble(image: str, message: str) -> ImageError | SandboxError:
    if any(words in message.lower() for words in _USERS_TROUBLE):
        return ImageError(f"cannot pull image {image}: {message}; is the name right, and is there a login for it?")
    return SandboxError(f"cannot pull image {image}: {message}")


def _auth(credentials: Credentials | None) -> Mapping[str, str] | None:
    if credentials is None:
        return None
    return {"username": credentials.username, "password": credentials.password}


def canonical(image: str) -> str:
    """The name with its registry: `redis:7` is `docker.io/library/redis:7`. A login needs to know where it goes."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


class _PullReport:
    """Adds up what the engine says layer by layer, many times a second, to one line."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._layers: dict[str, tuple[int, int]] = {}
        self._done: set[str] = set()

    def take(self, event: Mapping[str, Any]) -> None:
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        if status == "Downloading":
            self._layers[layer] = (int(detail.get("current") or 0), int(detail.get("total") or 0))
        elif status in ("Pull complete", "Already exists"):
            self._done.add(layer)

    def line(self) -> bytes:
        current = sum(have for have, _ in self._layers.values()) / 1e6
        total = sum(max(pair) for pair in self._layers.values()) / 1e6
        done, layers = len(self._done), len(self._layers.keys() | self._done)
        return f"  {self._image}: {current:.0f} of {total:.0f} MB, {done} of {layers} layers\n".encode()
