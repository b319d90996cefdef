"""The seam to the HTTP client library: exchanges, their limits of time, and their errors as ours."""
