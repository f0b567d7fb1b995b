"""What can be opened or mapped."""
