"""Write the templates of the graphs, or compare them with fresh traces.

python -m tools.graph_templates          write them
python -m tools.graph_templates --check  compare every template with a fresh trace at other sizes
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import onnx
import torch

from cofactor_trainer.graphs.templates.instantiation import FOLDER, graph_from_template
from cofactor_trainer.graphs.templates.parameters import graph_parameters
from cofactor_trainer.graphs.tracing import trace
from tools.graph_templates.cases import Kind, Range, graph_names, make_spec
from tools.graph_templates.comparison import differences
from tools.graph_templates.derivation import NoTemplateError, Trace, derive_template

# A template is tried for all sizes. If the graphs differ, because the exporter computes small constants at export, the
# sizes are divided at the exporter's limit of 8192 numbers.
MOST_ITEMS, MOST_FACTORS = 49_990, 600
RANGES = (
    (Range(5, MOST_ITEMS, 4, MOST_FACTORS),),
    (Range(5, 8190, 4, MOST_FACTORS), Range(8193, MOST_ITEMS, 4, MOST_FACTORS)),
    (Range(5, MOST_ITEMS, 4, 40), Range(5, MOST_ITEMS, 92, MOST_FACTORS)),
)
PLACES = ("fewest", "anywhere", "most items", "most factors", "anywhere")


def main() -> int:
    """Write or check the templates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with fresh traces and write nothing")
    parser.add_argument("--only", default="", help="part of the name of a graph")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    flags = parser.parse_args()
    chosen = [(kind, name) for kind, name in graph_names() if flags.only in f"{kind} {name}"]
    return 0
