"""Builds the image without a registry or a daemon, and runs the product in containers as ECS does."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.support.processes.product import ROOT, Process
from tests.support.world.installation import Site

TAG: Final = "localhost/redistill:test"
UID: Final = 10001
_BASE: Final = "localhost/redistill-base"
_TOOLS: Final = ("buildah", "crun", "mmdebstrap", "podman")
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "redistill" / "image"
#: What pip is told here, for pip in the build.
_PIP: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT")
#: Containers without cgroups, for machines that have no system of them of their own.
_LIMITS: Final = ("--cgroups", "disabled", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000")
#: The container of the stack: nothing is writable but the volumes, and root's rights do not exist.
LOCKED: Final = (
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--network",
    "host",
)
_OWN_MOUNTS: Final = (
    "unshare",
    "-m",
    "sh",
    "-c",
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"',
    "sh",
)
_NUMBERS: Final = count(1)
_START_SECONDS: Final = 30.0


class ContainerError(Exception):
    """A command that failed, with the end of its log."""


def build() -> str:
    """Build the image from this source tree, and return its name; unchanged steps come from a cache."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise RuntimeError(
            f"building the image needs root and {', '.join(missing or _TOOLS)}: as root, run "
            f"`apt-get install --no-install-recommends {' '.join(_TOOLS)}`"
        )
    if not _known(_BASE):
        _call("podman", "import", "--quiet", str(_base()), _BASE)
    arguments = ["--build-arg", f"BASE={_BASE}", "--build-arg", "REVISION=test"]
    for name in _PIP:
        if value := os.environ.get(name):
            arguments += _for_pip(name, value)
    dockerfile = str(ROOT / "deploy" / "Dockerfile")
    isolation = ("--isolation", "chroot", "--network", "host", "--layers")
    _call("buildah", "build", *isolation, *arguments, "--file", dockerfile, "--tag", TAG, str(ROOT))
    return TAG


def inspect(name: str, template: str) -> str:
    """A field of an image or a container."""
    return _call("podman", "inspect", "--format", template, name).strip()


def in_container(*command: str, options: Sequence[str] = LOCKED) -> str:
    """The standard output of a command in a container of the image."""
    return _call(*_OWN_MOUNTS, "podman", "run", "--rm", *_LIMITS, *options, TAG, *command)


def compressed_bytes(folder: Path) -> int:
    """The size of the image's layers as a registry stores them."""
    _call("buildah", "push", "--quiet", TAG, f"oci:{folder}:test")
    return sum(path.stat().st_size for path in (folder / "blobs").rglob("*") if path.is_file())


def contained(
    *mounts: Path, environment: dict[str, str] | None = None, options: Sequence[str] = LOCKED
) -> Callable[..., Process]:
    """Return what starts a command of the product in a container, with these folders at their own paths."""
    return partial(_start, mounts=mounts, environment=environment or {}, options=options)


def _start(
    site: Site, *arguments: str, mounts: Sequence[Path], environment: dict[str, str], options: Sequence[str]
) -> Process:
    name = f"redistill-test-{os.getpid()}-{next(_NUMBERS)}"
    log = site.logs / f"{name}-{arguments[0]}.err"
    shared = [word for folder in (site.folder, *mounts) for word in ("--volume", f"{folder}:{folder}")]
    given = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
    command = ["redistill", "--config", str(site.config), *arguments]
    run = ["podman", "run", "--rm", "--name", name, *_LIMITS, *options, *shared, *given]
    with log.with_suffix(".out").open("wb") as out, log.open("wb") as err:
        popen = subprocess.Popen([*_OWN_MOUNTS, *run, TAG, *command], stdout=out, stderr=err)
    pid = _pid_of(name, popen)
    return Process(log=log, pid=pid, _exit_code=popen.poll, _join=partial(_wait, popen))


def own(*folders: Path) -> None:
    """Give folders to the user of the image."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, UID, UID)


def _pid_of(name: str, popen: "subprocess.Popen[bytes]") -> int:
    """The host's number of the container's first process, once it runs."""
    until = time.monotonic() + _START_SECONDS
    while popen.poll() is None and time.monotonic() < until:
        with suppress(ContainerError):
            if pid := int(inspect(name, "{{.State.Pid}}")):
                return pid
        time.sleep(0.05)
    return popen.pid


def _wait(popen: "subprocess.Popen[bytes]", timeout: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        popen.wait(timeout)


def _base() -> Path:
    """A small Debian with Python, kept outside the repository: no registry has to be reached for it."""
    path = _CACHE / "base.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp.tar")
        left_out = [
            f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")
        ]
        packages = "--include=ca-certificates,python3,tini"
        _call("mmdebstrap", "--variant=minbase", packages, *left_out, "bookworm", str(draft))
        draft.rename(path)
    return path


def _for_pip(name: str, value: str) -> list[str]:
    path = Path(value)
    if not path.is_absolute() or not path.exists():
        return ["--build-arg", f"{name}={value}"]
    folder = path if path.is_dir() else path.parent
    inside = Path("/mnt") / name.lower() / path.relative_to(folder)
    volume = f"{folder}:/mnt/{name.lower()}:ro"
    return ["--volume", volume, "--build-arg", f"{name}={inside}"]


def _known(name: str) -> bool:
    found: list[dict[str, Any]] = json.loads(_call("podman", "images", "--format", "json", name))
    return bool(found)


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        end = "\n".join(done.stderr.splitlines()[-30:])
        raise ContainerError(f"`{' '.join(command)}` exited with {done.returncode}:\n{end}")
    return done.stdout
