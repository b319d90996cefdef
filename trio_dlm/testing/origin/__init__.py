"""A server that misbehaves as it is told, in memory or on a socket."""
