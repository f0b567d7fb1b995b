"""OOM reports of real kernels, and this machine's processes: who would be killed, and why."""
