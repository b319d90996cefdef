"""Replies as bytes, for scripts.

Rules that hold here:

- what is given is what is sent: no field is added but the length of a whole reply.
"""

from __future__ import annotations

__all__ = ["head", "reply"]


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    """Return a header block with these lines."""
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


def reply(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return a whole reply, with its length."""
    return head(f"Content-Length: {len(body)}", *lines, status=status) + body
