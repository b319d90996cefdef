"""Downloads over http and https."""

from ._downloader import HttpDownloader

__all__ = ["HttpDownloader"]
