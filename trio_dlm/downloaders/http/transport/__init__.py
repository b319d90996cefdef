"""HTTP/1.1 on trio: connections, a pool of them, and the transport for httpx that they make."""
