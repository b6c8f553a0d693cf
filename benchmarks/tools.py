"""The machinery of the benchmark: nginx, wrk, processes, and what they used."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1795411781,"model":"gpt-4o-mini","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"Hello, how can I help you today?"},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":24,"completion_tokens":9,"total_tokens":33}}'
)
NGINX = """
{modules}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; default_type application/json; keepalive_requests 10000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location /fast/chat/completions {{ return 200 '{answer}'; }}
    location /slow/chat/completions {{ echo_sleep 0.2; echo '{answer}'; }}
  }}
}}
"""
MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], ready: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; begins when ``ready`` answers."""
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    try:
        wait_for(ready, process)
        yield process
    finally:
        process.send_signal(signal.SIGINT if "nginx" not in command[0] else signal.SIGTERM)
        process.wait(timeout=40)


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until ``url`` gives any answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{process.args!r} ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"{url} did not answer within {seconds} s")


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """nginx as an OpenAI-style provider; its address without the last path segment."""
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install nginx libnginx-mod-http-echo wrk")
    if not MODULE.exists():
        sys.exit("nginx's echo module is missing: apt-get install libnginx-mod-http-echo")
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(modules=f"load_module {MODULE};", folder=folder, port=port, answer=ANSWER))
    with running(["nginx", "-p", str(folder), "-c", str(conf)], f"http://127.0.0.1:{port}/fast/chat/completions"):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Load:
    """What wrk saw, and what the server's process used meanwhile."""

    rps: float
    p50: float
    p99: float
    errors: int
    requests: int
    cpu_us: float
    rss_mb: float


def wrk(url: str, script: Path, connections: int, seconds: int, pid: int) -> Load:
    """Load ``url`` and read the counters of process ``pid``."""
    before = cpu_seconds(pid)
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(script), url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(pid) - before
    requests = int(_find(r"(\d+) requests in", text))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(refused.group(1)) if refused else 0
    errors += sum(map(int, sockets.groups())) if sockets else 0
    return Load(
        float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        _milliseconds(_find(r"50%\s+([\d.]+\w+)", text)),
        _milliseconds(_find(r"99%\s+([\d.]+\w+)", text)),
        errors,
        requests,
        used / max(requests, 1) * 1e6,
        resident_mb(pid),
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        sys.exit(f"wrk said something unexpected:\n{text}")
    return found.group(1)


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of one process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0
