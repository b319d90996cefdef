"""Downloads for people whom you do not know: no address of your own network, and a limit on everything."""

import trio

import trio_dlm
from trio_dlm import DownloadOptions, HttpDownloader

CAREFUL = DownloadOptions(
    allow_private_addresses=False,
    max_bytes=500_000_000,
    timeout_s=20,
    min_rate_bytes_per_s=10_000,
    total_timeout_s=1800,
    retries=2,
    retry_after_limit_s=30,
    connections=2,
)


async def main(urls: list[str]) -> None:
    http = HttpDownloader(headers={"User-Agent": "fetchbot/1.0"})
    async with trio_dlm.open_manager(
        5, directory="inbox", downloader=http, max_pending=100, failures="keep"
    ) as manager:
        for url in urls:
            task = await manager.submit(url, options=CAREFUL, overwrite="unique")
            await task.wait()
            print(task.error or task.status)


# The machine itself, in three spellings, and where clouds serve its secrets.
trio.run(
    main,
    ["http://127.0.0.1:8000/", "http://[::ffff:127.0.0.1]/", "http://0x7f000001/", "http://169.254.169.254/latest/"],
)
