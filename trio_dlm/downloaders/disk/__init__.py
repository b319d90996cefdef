"""Names, locks and final places of files: what every downloader does with a disk."""
