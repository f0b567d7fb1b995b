"""``python -m pagewalk``."""

from pagewalk.cli import main

if __name__ == "__main__":
    main()
