"""Boots a systemd in a container over this machine's own files, and leaves nothing behind.

The root of the container is an overlay: below it this machine's ``/``, above it memory. So
nothing is downloaded to build it, it has the interpreter that is here, and nothing it does reaches
the disk. It has no network. See systemd-nspawn(1).

Rule: nothing here knows about the asset store.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until
from tests.system.machine import Machine

_TOOLS = ("systemd-nspawn", "nsenter", "unshare", "setpriv")

_NAME = "assetstore-test-"

# If the tests are killed, the kernel ends unshare (--pdeathsig), the first process of its
# namespace (--kill-child), all others there, and then the mounts. nspawn alone would leave the
# container behind.
_ENCLOSURE = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--propagation=private"),
    *("--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
)

# /run is covered because nspawn keeps notes there; /var/log/journal, so that the journal in the
# container does not begin by copying this machine's journal into memory.
# --register=no and --keep-unit: there is no systemd here to ask for a scope.
_BOOT = """
set -eu
name=$1; base=$2; shift 2
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
mount -t tmpfs -o mode=755 tmpfs /run
for cgroup in "$@"; do echo $$ >"$cgroup/cgroup.procs"; done
exec systemd-nspawn \\
    --quiet --register=no --keep-unit --machine="$name" --directory="$base/root" \\
    --private-network --resolv-conf=off --timezone=off --link-journal=no \\
    --tmpfs=/var/log/journal --console=pipe --boot systemd.unit=basic.target
"""


def what_is_missing() -> str | None:
    """Why no container can be booted here, or None."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"missing {', '.join(missing)}: apt-get install systemd-container util-linux"
    roots = _cgroup_roots()
    if not roots or not all(os.access(root, os.W_OK) for root in roots):
        return "no cgroup hierarchy in which systemd could have a branch of its own"
    probe = subprocess.run([*_ENCLOSURE, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"no namespaces of our own: {probe.stderr.strip()}"
    return None


@contextmanager
def booted_container(base: Path) -> Iterator[Machine]:
    """A container that is up. ``base`` is an empty directory to build it in.

    When this ends, by whatever, its processes, mounts and control groups are gone.
    """
    name = f"{_NAME}{os.getpid()}"
    cgroups = [root / name for root in _cgroup_roots()]
    log = base.with_suffix(".log")
    nspawn: subprocess.Popen[bytes] | None = None
    try:
        for cgroup in cgroups:
            # Of a run that was killed: its processes are gone, its control groups are not.
            for stale in cgroup.parent.glob(f"{_NAME}*"):
                with suppress(OSError):
                    _rmdir(stale)
            cgroup.mkdir()
        with log.open("wb") as output:
            nspawn = subprocess.Popen(
                [*_ENCLOSURE, "sh", "-c", _BOOT, "sh", name, str(base), *map(str, cgroups)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # The hierarchy systemd shall use inside, also where this machine mixes both.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                # Ctrl-C is for the tests, which clean up; the container must live for that.
                start_new_session=True,
            )
        yield _wait_for_boot(nspawn, log)
    finally:
        if nspawn is not None:
            nspawn.kill()
            nspawn.wait()
        for cgroup in cgroups:
            _remove_cgroup(cgroup)


def _wait_for_boot(nspawn: subprocess.Popen[bytes], log: Path) -> Machine:
    def said() -> str:
        return log.read_text(errors="replace")[-4000:]

    def init() -> int | None:
        if nspawn.poll() is not None:
            raise AssertionError(f"the container did not boot: exit {nspawn.returncode}\n{said()}")
        return _init_of(nspawn.pid)

    leader = wait_until(init, 20, f"PID 1 of the container\n{said()}")
    machine = Machine(
        enter=(
            *("nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--wd", "--"),
        )
    )

    def is_up() -> bool:
        # "degraded": some unit of this machine does not work in a container. Not our concern.
        state = machine.run("systemctl", "is-system-running", may_fail=True).stdout.strip()
        return state in ("running", "degraded")

    wait_until(is_up, 60, f"the container to be up\n{said()}")
    return machine


def _init_of(ancestor: int) -> int | None:
    """The descendant that is PID 1 of the container."""
    for pid in _descendants(ancestor):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        # "NSpid: 6180 3 1": its number here, in the enclosure, and in the container.
        pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if len(pids) == 3 and pids[-1] == "1":
            return pid
    return None


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _cgroup_roots() -> list[Path]:
    """Where systemd's hierarchies are mounted: the unified one, and on a mixed machine its twin."""
    roots = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            roots.append(Path(path))
    return roots


def _remove_cgroup(cgroup: Path) -> None:
    if not cgroup.exists():
        return

    def is_empty() -> bool:
        return not any(procs.read_text() for procs in cgroup.rglob("cgroup.procs"))

    wait_until(is_empty, 10, f"the processes of {cgroup} to end")
    _rmdir(cgroup)


def _rmdir(cgroup: Path) -> None:
    # Its files are the kernel's, and go with the directories.
    for directory, _, _ in os.walk(cgroup, topdown=False):
        Path(directory).rmdir()
