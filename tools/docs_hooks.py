"""The page of commands, from the parser's own --help."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from flat_mapper.cli.arguments import PROGRAM, grammar

PAGE = "reference/cli.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of commands to those that are written by hand."""
    files.append(File.generated(config, PAGE, content=commands()))
    return files


def commands() -> str:
    """Every command with its --help."""
    top, verbs = grammar()
    parts = ["# Commands", f"Every command of `{PROGRAM}`, as its `--help` prints it.", _help(top)]
    for name, verb in verbs.items():
        parts += [f"## {name}", _help(verb)]
    return "\n\n".join(parts) + "\n"


def _help(of: object) -> str:
    text = of.format_help()  # type: ignore[attr-defined]  # an argparse.ArgumentParser
    return f"```text\n{text.rstrip()}\n```"
