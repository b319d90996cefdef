"""What curl and aria2 do with a file that is cut off, and with one that is replaced before they go on."""

import shutil
from pathlib import Path

from trio_dlm.testing import Promise, PromiseBrokenError, check_download_command


def curl(url: str, path: str) -> list[str]:
    return ["curl", "-fsS", "-C", "-", "-o", path, url]


def aria2(url: str, path: str) -> list[str]:
    return ["aria2c", "-q", "-d", str(Path(path).parent), "-o", Path(path).name, url]


for command in (curl, aria2):
    print("$", *command("URL", "file.bin"))
    if shutil.which(command("", "")[0]) is None:
        print("is not installed here")
        continue
    for promise in (Promise.ABSENT, Promise.EXACT):
        try:
            print(check_download_command(command, promises={promise}))
        except PromiseBrokenError as exc:
            print(exc)
        print()
