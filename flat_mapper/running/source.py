"""A record as a program in C: one file that reads its inputs, runs the groups, writes its results.

What a group does stands in `loops`. Values are float32 whatever the record's widths are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected, file_name
from flat_mapper.execution.link import DRAM
from flat_mapper.execution.run import left_over
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.running.loops import GroupText
from flat_mapper.running.words import HELPERS, CodeLines, quiet, string
from flat_mapper.workload.graph import Workload

WORD = 4  # bytes of a float32
_MOST = 2**31 - 2**20  # bytes of all arrays, which a linker's ordinary addresses reach
SOURCE = "mapping.c"
FAST = ("-O3", "-march=native")
type Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A mapping as a program: its text, and the name of its file.

    inputs, outputs: the tensors of its files (`file_of`), with their shapes.
    """

    text: str
    file: str = SOURCE
    inputs: Shapes
    outputs: Shapes
    groups: Sequence[GroupText]

    @property
    def buffers(self) -> Mapping[str, int]:
        """Bytes of each group's tiles, by its Einsums."""
        return {", ".join(group.nests): WORD * group.words for group in self.groups}

    @property
    def in_use(self) -> int:
        """The most bytes that a group uses again: its tiles, and what its registers keep."""
        return WORD * max(group.words + group.private_words for group in self.groups)


def program(workload: Workload, platform: Platform, mapping: FusedMapping) -> Program:
    """The program of a mapping.

    raises: SpecError where no program can be made, with the reason.
    """
    for einsum in workload.einsums:
        if einsum.windowed:
            raise SpecError(expected("lower: c", "plain ranks", ", ".join(einsum.windowed)))
    if left := left_over(workload, mapping):
        condition = "a softmax that is charged, whose loops the record has"
        raise SpecError(expected("lower: c", condition, f"none for {', '.join(left)}"))
    groups = [GroupText(workload, platform, mapping, n + 1) for n in range(len(mapping.groups))]
    shapes, inputs, outputs = _tensors(workload, groups)
    body = CodeLines()
    for group in groups:
        group.write(body)
    size = WORD * sum([*map(prod, shapes.values()), *(group.words for group in groups)])
    if size > _MOST:
        condition = f"at most {_MOST:,} bytes of tensors and tiles"
        raise SpecError(expected("lower: c", condition, f"{size:,}", "take a smaller problem"))
    out = CodeLines()
    title = f"{workload.name} on {platform.name}: a fused mapping of flat-mapper as a program"
    out.add(
        f"// {quiet(title)}",
        f"// cc {' '.join(FAST)} -o run {SOURCE} -lm, then ./run FOLDER [TIMES]",
        f"// In FOLDER it reads {_files(workload, inputs)} and writes {_files(workload, outputs)}:",
        "// raw float32, row-major, ranks as below. Values are float32 whatever the record's",
        "// widths are; tiles have one buffer each; cores work one after another.",
        *(f"#include <{name}.h>" for name in ("math", "stdio", "stdlib", "string", "time")),
        "",
    )
    for tensor, shape in shapes.items():
        ranks = ", ".join(workload.tensor_ranks[tensor])
        out.array(f"dram_{groups[0].tensors[tensor]}", shape, quiet(f"{tensor}[{ranks}]"))
    _helpers(out, workload, "\n".join(body.lines))
    out.lines += body.lines
    with out.block("static void groups(void)"):
        out.add(*(f"group_{group.number}();" for group in groups))
    out.add("static struct { char *name, *data; size_t bytes; } files[] = {")
    for tensor in (*inputs, *outputs):
        file_name(tensor, "lower: c: tensor")
        file, array = string(file_of(workload, tensor)), f"dram_{groups[0].tensors[tensor]}"
        out.add(f"    {{{file}, (char *){array}, sizeof {array}}},")
    out.add("};", f"enum {{ INPUTS = {len(inputs)}, FILES = {len(inputs) + len(outputs)} }};")
    text = "\n".join(out.lines) + _MAIN
    return Program(text=text, inputs=inputs, outputs=outputs, groups=groups)


def _tensors(workload: Workload, groups: Iterable[GroupText]) -> tuple[Shapes, Shapes, Shapes]:
    """Shapes of all that is at DRAM, of what no Einsum makes, and of the results."""
    nests = [nest for group in groups for nest in group.nests.values()]
    shapes = {
        tensor: tuple(map(workload.rank_sizes.__getitem__, ranks))
        for tensor, ranks in workload.tensor_ranks.items()
        if any(DRAM in nest.keepers(tensor) for nest in nests)
    }
    made = [t for t in shapes if t in workload.producers]
    last = [t for t in made if not workload.readers(t)] or made
    return shapes, {t: shapes[t] for t in shapes if t not in made}, {t: shapes[t] for t in last}


def file_of(workload: Workload, tensor: str) -> str:
    """The name of a tensor's file.

    The quotient of an online softmax has that of its numerator: AV in every form of softmax.
    """
    maker = workload.producers.get(tensor)
    if maker is not None and workload.softmax != "none" and (made := workload.einsum(maker)).after:
        tensor = made.inputs[0].tensor
    return f"{tensor}.bin"


def _files(workload: Workload, tensors: Iterable[str]) -> str:
    return quiet(", ".join(file_of(workload, tensor) for tensor in tensors))


def _helpers(out: CodeLines, workload: Workload, body: str) -> None:
    """Functions that the body calls."""
    used = [f"static inline float {n}({text}" for n, text in HELPERS.items() if f"{n}(" in body]
    out.add("", *used) if used else None
    mask, pair = workload.mask, workload.roles.masked
    if mask is None or pair is None or "sees(" not in body:
        return
    queries, keys = (workload.rank_sizes[r] for r in pair)
    parts, reach = mask.parts, (mask.window or keys * mask.parts) - 1
    behind = keys * parts - queries  # of the first query: the last stands at the last key
    ahead = behind if mask.causal else behind + reach
    out.add("", f"// Whether some of these queries may see some of these keys: {quiet(str(mask))}")
    with out.block("static inline int sees(long query, long queries, long key, long keys)"):
        after = f"key * {parts} < queries + {ahead}"
        out.add(f"return {after} && query + {behind - reach} < keys * {parts};")


_MAIN = r"""
// Seconds that the processor has spent here.
static double now(void) { return (double)clock() / CLOCKS_PER_SEC; }

// Read a tensor's file, or write it; 1 where that cannot be, which is told.
static int moved(const char *folder, int number, int writes) {
    char path[4096], *name = files[number].name, *data = files[number].data;
    size_t bytes = files[number].bytes;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return fprintf(stderr, "%s: expected a shorter path\n", name), 1;
    FILE *file = fopen(path, writes ? "wb" : "rb");
    if (!file) return fprintf(stderr, "%s: expected a file that can be used\n", path), 1;
    size_t done = writes ? fwrite(data, 1, bytes, file) : fread(data, 1, bytes, file);
    int more = !writes && done == bytes && fgetc(file) != EOF;
    if (fclose(file) || done != bytes || more)
        return fprintf(stderr, "%s: expected %zu bytes of float32, got %s\n", path, bytes,
                       more ? "more" : "fewer"), 1;
    return 0;
}

int main(int count, char **words) {
    if (count != 2 && count != 3) return fputs("expected: ./run FOLDER [TIMES]\n", stderr), 2;
    long times = count == 3 ? atol(words[2]) : 1;
    double least = times ? INFINITY : 0;
    volatile char kept = 0;
    for (int i = 0; i < INPUTS; i++)
        if (moved(words[1], i, 0)) return 2;
    for (int i = 0; !times && i < INPUTS; i++)  // inputs are only read, each line once
        for (size_t at = 0; at < files[i].bytes; at += 64) kept = files[i].data[at];
    (void)kept;
    for (long i = 0; i < times; i++) {
        double begin = now();
        groups();
        least = fmin(least, now() - begin);
    }
    printf("%.9f s\n", least);
    for (int i = INPUTS; i < FILES; i++)
        if (moved(words[1], i, 1)) return 2;
    return 0;
}
"""
