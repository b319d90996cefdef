"""What is checked of downloaders and of whole scenarios: every promise, under every fault."""
