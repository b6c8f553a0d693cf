"""The machine of Tollhouse: an open shell into which the page's commands are typed, and the program itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.operations.page import Block
from tests.operations.server import Server

SECONDS = 60
VENV = Path(sys.executable).parents[1]


class Shell:
    """One bash for as long as the block runs, so that what is set stays set. Whatever fails in it fails the test."""

    def __init__(self, folder: Path, env: Mapping[str, str], *programs: Path) -> None:
        inherited = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self._bash = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            cwd=folder,
            env={**inherited, **env, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *error: object) -> None:
        self._bash.communicate()

    def type(self, code: str) -> str:
        """Run it to its end; what it says."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{\n{code}\n}} </dev/null\necho; echo '--- done ---'\n")
        self._bash.stdin.flush()
        said = ""
        for line in self._bash.stdout:
            if line == "--- done ---\n":
                return said
            said += line
        raise AssertionError(f"{code}\nends with {self._bash.wait()}:\n{said}")


class Machine:
    """A folder with the program in it. ``server`` is None where the embedded server is used."""

    def __init__(self, folder: Path, environment: Block, server: Server | None) -> None:
        self.folder = folder
        self.server = server
        self.data = folder / "data"
        (folder / ".venv").symlink_to(VENV)
        (folder / "plugins.toml").write_text('enabled = ["api", "demo", "manual", "web"]\n')
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        lines = [*self.here(environment.code).splitlines(), f"PORT={self.port}"]
        kept = [line for line in lines if server or not line.startswith("DATABASE_URL")]
        (folder / "env").write_text("\n".join(kept) + "\n")

    def set(self, name: str, value: str) -> None:
        """A line of the service's settings; the last one of a name counts."""
        with (self.folder / "env").open("a") as env:
            env.write(f"{name}={value}\n")

    def here(self, code: str) -> str:
        """What the page says, with the places of this machine."""
        places = {
            "/opt/tollhouse": str(self.folder),
            "/etc/tollhouse.env": str(self.folder / "env"),
            "/var/lib/tollhouse-data": str(self.data),
            "?sslmode=require": "",
        }
        if self.server is not None:
            places["db.example.com"] = f"127.0.0.1:{self.server.port}"
        for place, mine in places.items():
            code = code.replace(place, mine)
        return code

    def shell(self, *programs: Path) -> Shell:
        """A shell of the machine's user; PostgreSQL's programs are those of the server's version."""
        return Shell(self.folder, {}, *(programs or ([self.server.programs] if self.server else [])))

    def administer(self, block: Block, login: str = "postgres") -> None:
        """What the page tells the server's administrator to do."""
        assert self.server is not None
        with Shell(self.folder, {**self.server.administrator, "PGUSER": login}, self.server.programs) as shell:
            code = self.here(block.code)
            shell.type(f"psql -X -v ON_ERROR_STOP=1 <<'END'\n{code}END" if block.language == "sql" else code)

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """The service, with the settings of its file, until the block ends; where it is."""
        command = f". <(sed 's/^/export /' {self.folder}/env); exec .venv/bin/tollhouse serve --prepare"
        log = (self.folder / "serve.log").open("a+")
        service = subprocess.Popen(["bash", "-c", command], cwd=self.folder, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{self.port}"
        try:
            until = time.monotonic() + SECONDS
            while ask(f"{address}/readyz")[0] != 200:
                assert service.poll() is None, (self.folder / "serve.log").read_text()
                assert time.monotonic() < until, (self.folder / "serve.log").read_text()
                time.sleep(0.1)  # a process that starts tells nobody
            yield address
        finally:
            service.send_signal(signal.SIGINT)
            assert service.wait(SECONDS) == 0, (self.folder / "serve.log").read_text()
            log.close()


def ask(url: str, key: str = "", body: Any = None) -> tuple[int, Any]:
    """The status and the JSON (or text) of an answer; 0 where nobody answers."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=SECONDS) as answer:
            return answer.status, _read(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except OSError:
        return 0, ""


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
