"""The files of a download that can be resumed: lock, part, record, final name."""
