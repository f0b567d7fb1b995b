"""What the MMU does by itself; knows nothing of the kernel."""
