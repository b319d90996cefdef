"""The world that async code is tested in: time that jumps, a network in memory, threads in line, files that fail."""
