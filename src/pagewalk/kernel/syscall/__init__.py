"""The system calls, by family."""
