"""What pagewalk costs, measured side by side with the machine that it runs on: ``make bench``."""
