"""A private nginx: the origin that most files on the web come from, for tests and benchmarks.

Rules that hold here:

- it reads and writes nothing outside the prefix and the directory that it is given, and listens on loopback only;
- the socket is bound and listening before nginx starts, and inherited by it, so nobody can take the port in between and
  no client needs to wait until nginx is up: the kernel holds its connection meanwhile;
- when the block ends no process is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Nginx", "find_nginx", "run_nginx"]

# A file of a few MiB goes out in less; one that takes this long hangs.
STOP_WITHIN_S: Final = 10.0

# Every path that Debian's build would look for in /var is named.  One worker, since the client needs a core as well; it
# cannot run without a master, as nginx 1.22 crashes on inherited sockets then.
_CONFIG: Final = """\
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 1024; }}
http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port}{tls};
        root "{root}";
        {rate}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A server that runs: ``url`` ends with a slash, ``prefix`` has ``access.log`` and ``error.log``."""

    url: str
    prefix: Path


def find_nginx() -> str | None:
    """Return the path of the program, or None if it is not installed."""
    # Debian puts it where the PATH of a user often does not lead.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def run_nginx(
    program: str,
    *,
    prefix: Path,
    root: Path,
    certificate: tuple[Path, Path] | None = None,
    rate_bytes_per_s: int | None = None,
) -> Iterator[Nginx]:
    """Serve the files below *root* until the block ends.

    Args:
        program: what :func:`find_nginx` found.
        prefix: an empty directory for configuration, logs and temporary files; both paths without quotes and ``$``.
        root: the directory to serve.
        certificate: for TLS: the files with the server's chain and its key.
        rate_bytes_per_s: how fast each reply goes out; None for as fast as it can.

    Raises:
        RuntimeError: nginx ended by itself, or did not end when told; its error log is in the message.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        config = prefix / "nginx.conf"
        # Started by root its worker would become somebody who cannot read a private directory; others may not say who.
        user = "user root;" if os.geteuid() == 0 else ""
        rate = "" if rate_bytes_per_s is None else f"limit_rate {rate_bytes_per_s};"
        tls, scheme = "", "http"
        if certificate is not None:
            chain, key = certificate
            tls, scheme = f' ssl; ssl_certificate "{chain}"; ssl_certificate_key "{key}"', "https"
        config.write_text(_CONFIG.format(user=user, port=port, root=root, tls=tls, rate=rate), "utf-8")
        process = subprocess.Popen(
            # Until it has read the configuration it would complain into a log of the system's.
            [program, "-p", str(prefix), "-e", "error.log", "-c", str(config)],
            # Its way to hand sockets to its own successor; it takes the one whose address the configuration names.
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in the terminal is for the tests, which end it then.
            start_new_session=True,
        )
    # From here on nginx alone has the socket: were it to end, clients would be refused instead of waiting.
    try:
        yield Nginx(url=f"{scheme}://127.0.0.1:{port}/", prefix=prefix)
    finally:
        ended_by_itself = process.poll() is not None
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            # The worker outlives its master, unless it dies with the group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # Told before it listens to signals it dies of the first.
        if ended_by_itself or process.returncode not in {0, -signal.SIGTERM}:
            log = prefix / "error.log"
            said = log.read_text("utf-8", "replace") if log.exists() else "nothing"
            raise RuntimeError(f"nginx ended with status {process.returncode}; it said:\n{said}")
