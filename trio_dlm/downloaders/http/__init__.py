"""Downloads over http and https."""

from ._downloader import HttpDownloader
from ._probing import RemoteFile
from .client._transport import TrioTransport

__all__ = ["HttpDownloader", "RemoteFile", "TrioTransport"]
