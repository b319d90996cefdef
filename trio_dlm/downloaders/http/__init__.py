"""Downloads over http and https."""

from ._downloader import HttpDownloader
from ._probing import RemoteFile

__all__ = ["HttpDownloader", "RemoteFile"]
