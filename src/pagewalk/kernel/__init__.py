"""Processes: tasks, exec, signals, and the system-call table."""
