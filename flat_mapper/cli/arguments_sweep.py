"""The grammar of the commands that search nothing themselves, of sweeps, of any chip and budget."""

from __future__ import annotations

import argparse

from flat_mapper.base.budget import Budget, Limits
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import checked


def arch_arguments(verb: argparse.ArgumentParser) -> None:
    """The chip, which may stand in several files."""
    verb.add_argument(
        "--arch",
        required=True,
        nargs="+",
        action="extend",
        metavar="A",
        help="a shipped name, or v0.4 files and folders that are read together",
    )
    data_argument(verb)


def data_argument(verb: argparse.ArgumentParser) -> None:
    """Values for templates."""
    verb.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="N=V",
        help="give the name N of a template (top.yaml.jinja2) the value V; repeatable",
    )


def execute_arguments(verb: argparse.ArgumentParser) -> None:
    """Of `flat-mapper execute`."""
    verb.add_argument("record", metavar="fused-mapping.yaml")
    verb.add_argument("--arch", metavar="A", help="another architecture than the record's")
    verb.add_argument(
        "--check", action="store_true", help="hold the native model against it; 1 where it differs"
    )
    verb.add_argument(
        "--shrink",
        action="store_true",
        help="cut every loop outside the fusion level to two passes",
    )


def sweep_arguments(verb: argparse.ArgumentParser) -> None:
    """Of `flat-mapper sweep`."""
    verb.add_argument("sweep", metavar="SWEEP.yaml", help="what varies; see docs/sweeps.md")
    verb.add_argument("-o", "--output", metavar="FILE", help="the results file, new or begun")
    verb.add_argument(
        "--dry-run", action="store_true", help="check the inputs and count the points"
    )
    verb.add_argument("--yes", action="store_true", help="however many points there are")
    engine_arguments(verb)


def optimize_arguments(verb: argparse.ArgumentParser) -> None:
    """Of `flat-mapper optimize`."""
    verb.add_argument("problem", metavar="DESIGN.yaml", help="choices, workloads and budgets")
    verb.add_argument("-o", "--output", metavar="FILE", help="the results file, new or begun")
    verb.add_argument(
        "--method",
        default="grid",
        metavar="M",
        help="grid: every design (default); optuna: some of them, for large spaces",
    )
    verb.add_argument(
        "--trials", default="100", metavar="N", help="designs that optuna tries (default 100)"
    )
    verb.add_argument("--seed", default="0", metavar="N", help="of optuna (default 0)")
    verb.add_argument(
        "--dry-run", action="store_true", help="check the inputs and count the designs"
    )
    verb.add_argument("--yes", action="store_true", help="however many points there are")
    engine_arguments(verb)


def engine_arguments(verb: argparse.ArgumentParser) -> None:
    """The flags that say where points are computed."""
    verb.add_argument(
        "--workers",
        metavar="N",
        help="processes on this machine (default: one a core; 0: none but this one)",
    )
    verb.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask scheduler, such as tcp://host:8786"
    )
    verb.add_argument("--scheduler-file", metavar="FILE", help="that a Dask scheduler wrote")


def export_arguments(verb: argparse.ArgumentParser) -> None:
    """Of `flat-mapper export`."""
    verb.add_argument("results", metavar="results.db", help="what sweep wrote")
    verb.add_argument(
        "--format", default="csv", metavar="F", help="csv (default), parquet or jsonl"
    )
    verb.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COND",
        help="keep rows with, say, status=done or arch.GLB.depth>=4096; repeatable",
    )
    verb.add_argument("-o", "--output", metavar="FILE", help="a file (default: stdout)")


def report_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        help="JSON of map, compare or evaluate, a folder that -o made, or a sweep's database",
    )
    verb.add_argument("-o", "--output", required=True, metavar="FILE", help="the page: FILE.html")
    verb.add_argument("--title", default="", metavar="T", help="the page's heading")


def import_hf_arguments(verb: argparse.ArgumentParser) -> None:
    """A configuration, and what the problem takes of it."""
    verb.add_argument("config", metavar="config.json", help="the configuration beside a model")
    verb.add_argument("--part", default="", metavar="P", help="encoder, decoder or cross")
    verb.add_argument(
        "--layers",
        default="",
        metavar="L",
        help="window or full: of a model whose layers differ, these alone",
    )
    verb.add_argument("--batch", default="1", metavar="B", help="sequences (default 1)")
    verb.add_argument("--seq", metavar="N", help="positions (default: the model's, at most 4096)")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the problem there")


def import_onnx_arguments(verb: argparse.ArgumentParser) -> None:
    """A graph, and the sizes that it leaves open."""
    verb.add_argument(
        "file", metavar="FILE.onnx", help="a model's graph; its weights may be missing"
    )
    verb.add_argument(
        "--dim",
        nargs="+",
        metavar="NAME=SIZE",
        help="sizes of dimensions that the file leaves open",
    )
    verb.add_argument("-o", "--output", metavar="FILE", help="write the problem there")


def import_torch_arguments(verb: argparse.ArgumentParser) -> None:
    """A program of torch.export."""
    verb.add_argument("file", metavar="FILE.pt2", help="what torch.export.save wrote")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the problem there")


def early_arguments(verb: argparse.ArgumentParser) -> None:
    """Arguments that end a search early."""
    verb.add_argument(
        "--time-limit",
        metavar="S",
        help="seconds from the start; then the best so far, its proven bound and gap",
    )
    verb.add_argument(
        "--gap",
        metavar="G",
        help="stop where the best is proven to be as near, such as 1%% or 0.01",
    )
    verb.add_argument(
        "--memory-limit", metavar="MB", help="peak memory of the process, at which the search stops"
    )


def search_arguments(verb: argparse.ArgumentParser) -> None:
    """Arguments that end a search early, or limit its answer."""
    early_arguments(verb)
    verb.add_argument("--max-latency", metavar="S", help="seconds that the mapping may take")
    verb.add_argument("--max-energy", metavar="J", help="joules that it may take")
    verb.add_argument(
        "--max-buffer",
        metavar="BYTES",
        help="of the level that fused Einsums share, that it may use",
    )


def budget_of(arguments: argparse.Namespace) -> Budget:
    """The budget that the command line gives a search."""
    from flat_mapper.spec.yamlio import scalar  # yaml is no part of the grammar

    most = {"latency_s": "max_latency", "energy_j": "max_energy", "buffer_bytes": "max_buffer"}
    given = {
        limit: checked(scalar(text), float, f"--{name.replace('_', '-')}", above=0)
        for limit, name in most.items()
        if (text := getattr(arguments, name, None)) is not None  # compare has none of these
    }
    found = Budget(limits=Limits(**given))
    found.begin = getattr(arguments, "begin", found.begin)
    if arguments.time_limit is not None:
        found.seconds = checked(scalar(arguments.time_limit), float, "--time-limit", above=0)
    if arguments.memory_limit is not None:
        found.megabytes = checked(scalar(arguments.memory_limit), float, "--memory-limit", above=0)
    if arguments.gap is not None:
        found.gap = _share(arguments.gap)
    return found


def _share(text: str) -> float:
    """A share from words such as 1% or 0.01."""
    from flat_mapper.spec.yamlio import scalar  # yaml is no part of the grammar

    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    value = checked(scalar(number), float, "--gap", above=0) / (100 if percent else 1)
    if value > 1:
        raise SpecError(expected("--gap", "a share up to 100%, such as 1% or 0.01", text))
    return value


def fuse_layers_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", metavar="DIR", help="a folder of Timeloop problems, one a layer")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the fused problem there")


def tiles_arguments(verb: argparse.ArgumentParser) -> None:
    """Arguments that name a kernel, and how many of its tiles."""
    verb.add_argument(
        "--for",
        required=True,
        dest="kernel",
        metavar="K",
        help="fa3, fa2, triton, flex, splash, rpa3 or ttnn",
    )
    verb.add_argument("--count", default="5", metavar="N", help="tiles that are shown (default 5)")
    text = "print what a user pastes of the best tile"
    verb.add_argument("--snippet", action="store_true", help=text)


def check_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("files", nargs="+", metavar="FILE", help="files of any kind")


def list_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "kind", nargs="?", default="", metavar="KIND", help="arch, problems or mapspaces"
    )
