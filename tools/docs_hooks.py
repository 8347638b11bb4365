"""The site's pages that are made when it is built: the commands, the names of answers."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import docs_pages  # beside this file, which mkdocs loads by its path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made to those that are written by hand."""
    for name, made in docs_pages.BUILT.items():
        files.append(File.generated(config, f"reference/{name}.md", content=made()))
    return files
