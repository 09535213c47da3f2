"""Machines of one's own, simulated on this one: each has its host name, network, processes, home and temporary folder.

Linux namespaces hold them apart, a bridge joins them, and OpenSSH's server lets others in, as on a machine in a rack: a
program in one of them reaches another by its address alone. Needs root, ``sshd`` and ``rsync``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

NETWORK = "10.77.0"
"""First three numbers of the addresses; nothing of it leaves the namespaces."""
USER = "me"
WAIT_S = 20.0

BOOT = r"""
set -e
name=$1 address=$2 folder=$3; shift 3
hostname "$name"
mount --make-rprivate /
mkdir "$folder/tmp" && chmod 1777 "$folder/tmp"
for kept in "$@"; do
    case $kept in /tmp/*) mkdir -p "$folder$kept" && mount --rbind "$kept" "$folder$kept" ;; esac
done
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/hosts" /etc/hosts
mount -t tmpfs tmpfs /run && mkdir /run/sshd
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
touch "$folder/booted"
mount --rbind "$folder/tmp" /tmp
if [ -e "$folder/sshd_config" ]; then exec /usr/sbin/sshd -D -e -f "$folder/sshd_config"; fi
ip link add switch type bridge && ip address add "$address/24" dev switch && ip link set switch up
exec sleep infinity
"""
"""What a machine does when it is switched on. Folders that are named are there although its /tmp is its own."""
PARTS = ("--net", "--uts", "--ipc", "--mount", "--pid")
SSHD = """\
ListenAddress 0.0.0.0
HostKey {folder}/host_key
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""


class CannotSimulate(Exception):
    """This machine lacks what it takes; says what."""


def check() -> None:
    """Raise CannotSimulate, with what is missing."""
    missing = [name for name in ("unshare", "nsenter", "setpriv", "ip", "ssh", "rsync") if not shutil.which(name)]
    if missing or not Path("/usr/sbin/sshd").exists():
        raise CannotSimulate(
            f"install {', '.join(missing) or 'sshd'} first: apt-get install openssh-server rsync iproute2"
        )
    done = subprocess.run(["unshare", *PARTS, "--fork", "--mount-proc", "true"], capture_output=True, text=True)
    if done.returncode:
        raise CannotSimulate(f"machines of their own need root: {done.stderr.strip()}")


@dataclass
class Machine:
    """One simulated machine.

    Attributes:
        address: Its address on the common network.
        home: Home folder of its user, who may do everything there.
        switch: Process that ends it when it ends.
        init: Id of its first process, as seen from outside.
    """

    name: str
    address: str
    home: Path
    switch: subprocess.Popen[bytes]
    init: int

    def command(self, line: str) -> list[str]:
        """Words that run a line of shell there, as for its user who sits in front of it."""
        kept = {name: os.environ[name] for name in ("LANG", "TERM") if name in os.environ}
        variables = {
            **kept,
            "HOME": str(self.home),
            "USER": USER,
            "PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}",
        }
        inside = ["nsenter", f"--target={self.init}", "--all", f"--wd={self.home}", "env", "-i"]
        return [*inside, *(f"{name}={value}" for name, value in variables.items()), "bash", "-c", line]

    def processes(self, name: str) -> list[psutil.Process]:
        """Its processes whose program has a name such as ``ray::ImplicitFunc``."""
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.init).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if name in "".join(process.cmdline()[:1]):
                        found.append(process)
        return found

    def pull_the_plug(self) -> None:
        """End it at once, with all that runs there; nobody is told."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self.switch.wait(timeout=WAIT_S)


class Rack:
    """Machines on one network: a desk, where a person sits, and others that only ssh lets in.

    All of them end with this process, whatever ends it.
    """

    def __init__(self, folder: Path, seen: Sequence[Path] = ()) -> None:
        """``folder``: where their homes are made; ``seen``: further folders that all of them see, at the same path."""
        self._folder, self._seen = folder, [str(path) for path in (folder, *seen)]
        self._key = folder / "id_ed25519"
        _make_key(self._key)
        self.machines: list[Machine] = []
        self.desk = self._boot("desk", f"{NETWORK}.254")
        shutil.copy(self._key, self.desk.home / ".ssh" / "id_ed25519")

    def add(self, name: str) -> Machine:
        """Another machine, which lets the person in."""
        folder = self._folder / name
        folder.mkdir()
        _make_key(folder / "host_key")
        (folder / "sshd_config").write_text(SSHD.format(folder=folder))
        machine = self._boot(name, f"{NETWORK}.{len(self.machines)}")
        shutil.copy(self._key.with_suffix(".pub"), machine.home / ".ssh" / "authorized_keys")
        desk, here = f"nsenter --target={self.desk.init} --net", f"nsenter --target={machine.init} --net"
        for line in (
            f"{desk} ip link add name {name} type veth peer name eth0 netns {machine.init}",
            f"{desk} ip link set {name} master switch up",
            f"{here} ip address add {machine.address}/24 dev eth0",
            f"{here} ip link set eth0 up",
            f"{here} ip route add default via {self.desk.address}",  # by which Ray finds its own address
        ):
            subprocess.run(line.split(), check=True)
        return machine

    def close(self) -> None:
        """Switch everything off."""
        for machine in self.machines:
            machine.pull_the_plug()

    def _boot(self, name: str, address: str) -> Machine:
        folder = self._folder / name
        home = folder / USER
        shutil.copytree("/etc/skel", home)
        (home / ".ssh").mkdir(mode=0o700)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        (folder / "passwd").write_text(f"{USER}:*:0:0::{home}:/bin/bash\n{Path('/etc/passwd').read_text()}")
        log = folder / "boot.log"
        boot = ["bash", "-c", BOOT, "boot", name, address, str(folder), *self._seen]
        with log.open("wb") as output:
            switch = subprocess.Popen(
                [*("setpriv", "--pdeathsig=KILL", "unshare", *PARTS, "--fork", "--kill-child", "--mount-proc"), *boot],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C at the terminal is for whoever plays with the machines
            )
        deadline = time.monotonic() + WAIT_S
        while not (folder / "booted").exists():
            if switch.poll() is not None or time.monotonic() > deadline:
                switch.kill()
                raise CannotSimulate(f"{name} does not start: {log.read_text().strip()}")
            time.sleep(0.02)
        self.machines.append(Machine(name, address, home, switch, psutil.Process(switch.pid).children()[0].pid))
        return self.machines[-1]


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
