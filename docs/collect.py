"""Writes docs/differences.md: what each kernel module mirrors, and how it differs, from the modules' own docstrings."""

import ast
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src" / "pagewalk"
ROOMS = {
    "arch": "Page-table formats and address-space layouts",
    "hw": "Hardware",
    "mm": "Memory management",
    "fs": "Files",
    "kernel": "Processes and system calls",
    "cpu": "The CPU",
}
INTRODUCTION = """# What is mirrored, and what differs

pagewalk names its modules after the files of Linux that they follow, and each says where it deliberately does something
else. This page is made from those lines (`make docs`); the modules are the source.
"""


def paragraph(docstring: str, label: str) -> str:
    """The text after ``label`` (\"Mirrors:\", \"Differs:\") up to the next label or empty line, as one line."""
    lines: list[str] = []
    for line in docstring.splitlines():
        if line.startswith(label):
            lines = [line[len(label) :].strip()]
        elif lines and (not line.strip() or line.startswith(("Mirrors:", "Differs:", "Sources:"))):
            break
        elif lines:
            lines.append(line.strip())
    return " ".join(lines)


def rows(room: str) -> list[str]:
    """A table row for each module of ``room`` that mirrors something or differs."""
    found = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        mirrors, differs = paragraph(docstring, "Mirrors:"), paragraph(docstring, "Differs:")
        if mirrors or differs:
            cells = [f"`{path.relative_to(PACKAGE)}`", docstring.splitlines()[0], mirrors, differs]
            found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return found


def document() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for room, title in ROOMS.items():
        if table := rows(room):
            parts.append(f"\n## {title}\n\n| module | what it is | mirrors | differs |\n|---|---|---|---|\n")
            parts.append("\n".join(table) + "\n")
    return "".join(parts)


def main() -> int:
    """Writes the page; with ``--check``, says whether it is current."""
    page = HERE / "differences.md"
    text = document()
    if "--check" in sys.argv[1:]:
        return 0 if page.exists() and page.read_text() == text else 1
    page.write_text(text)
    print(f"{page.relative_to(HERE.parent)}: {text.count(chr(10) + '| `')} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
