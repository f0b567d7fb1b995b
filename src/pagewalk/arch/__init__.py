"""What silicon and its ABI define, as data: entry formats and address-space layouts."""
