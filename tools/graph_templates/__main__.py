"""Write the templates of the graphs, or compare them with fresh traces.

python -m tools.graph_templates          write all templates
python -m tools.graph_templates --check  compare every template with fresh traces at other sizes
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import onnx

from cofactor_trainer.graphs.templates.instantiation import FOLDER
from tools.graph_templates.cases import Kind, distinct_graphs
from tools.graph_templates.templates import check_templates, make_templates

Graph = tuple[Kind, str]


def main() -> int:
    """Write or check the templates; return 1 if one differs or cannot be made."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.graph_templates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--only", default="", metavar="TEXT", help="graphs with this text in their description")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes to trace in")
    flags = parser.parse_args()
    graphs = [(kind, name) for kind, name in distinct_graphs() if flags.only in f"{name} of {kind}"]
    return _check(graphs, flags.jobs) if flags.check else _write(graphs, flags.jobs, delete_others=not flags.only)


def _check(graphs: Sequence[Graph], jobs: int) -> int:
    problems = 0
    for (kind, name), found in _in_processes(check_templates, graphs, jobs):
        problems += len(found)
        print(f"{name} of {kind}: {'; '.join(found) or 'the same'}", flush=True)
    if problems:
        print("error: templates differ from fresh traces; run 'python -m tools.graph_templates' and commit the result")
    return min(problems, 1)


def _write(graphs: Sequence[Graph], jobs: int, *, delete_others: bool) -> int:
    written: set[str] = set()
    problems = 0
    for (kind, name), (templates, problem) in _in_processes(make_templates, graphs, jobs):
        problems += problem is not None
        print(f"{name} of {kind}: {problem or ', '.join(templates)}", flush=True)
        for file_name, content in templates.items():
            (FOLDER / file_name).write_bytes(content)
            onnx.load(FOLDER / file_name)
        written |= set(templates)
    if delete_others:
        for path in FOLDER.glob("*.onnx"):
            if path.name not in written:
                path.unlink()
    return min(problems, 1)


def _in_processes(
    function: Callable[[Graph], object], graphs: Sequence[Graph], jobs: int
) -> Iterator[tuple[Graph, object]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from zip(graphs, pool.map(function, graphs), strict=True)


if __name__ == "__main__":
    sys.exit(main())
