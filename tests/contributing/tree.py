"""A copy of the project to which a test adds as a contributor would: a file, and a line in a registry."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.experiments import ROOT, environment


@dataclass(frozen=True)
class Tree:
    """A copy of everything that git would track, in a folder of its own."""

    root: Path

    @classmethod
    def copy(cls, root: Path) -> Tree:
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():  # a file that was deleted, but not yet from git's index, is not
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        return cls(root)

    def add(self, source: Path, folder: str) -> None:
        """Put a file into a folder of the copy, where no file of that name may be."""
        target = self.root / folder / source.name
        assert not target.exists()
        shutil.copy(source, target)

    def register(self, path: str, opening: str, line: str, imported: str = "") -> None:
        """Put one line at the end of the brackets that ``opening`` opens, and the import that it needs."""
        lines = (self.root / path).read_text().splitlines()
        (first,) = [number for number, text in enumerate(lines) if text.strip() == opening]
        indent = lines[first].removesuffix(opening)
        last = next(n for n in range(first, len(lines)) if lines[n].startswith((f"{indent})", f"{indent}}}")))
        lines.insert(last, f"{indent}    {line}")
        if imported:
            ours = ("from hypogen.", "from orchestrator.")
            lines.insert(next(n for n, text in enumerate(lines) if text.startswith(ours)), imported)
        (self.root / path).write_text("\n".join(lines) + "\n")

    def python(self, *words: object, status: int = 0, timeout: float = 600) -> str:
        """Standard output and error of Python in the copy, which must end with ``status``."""
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=self.root,
            env=environment(self.root),
            timeout=timeout,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr
