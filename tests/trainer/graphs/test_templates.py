"""Templates give the graphs that tracing gives; `python -m tools.graph_templates --check` compares all of them."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs import onnx_writer
from cofactor_trainer.graphs.graph_spec import GraphSpec
from cofactor_trainer.graphs.graph_specs import predict_spec
from cofactor_trainer.graphs.predict import Predict
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.templates.instantiation import FOLDER, graph_from_template
from tests.support import synthetic
from tools.graph_templates.cases import KINDS, Range, distinct_graphs, make_spec
from tools.graph_templates.derivation import NoTemplateError, Trace, derive_template
from tools.graph_templates.templates import check_templates

EXPORT = """
import sys, tempfile
from pathlib import Path
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic
model = synthetic.make_model(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    export_version(model, synthetic.make_dataset(), Path(folder), "films", "1", metrics={}, hyperparameters={})
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def proto_of(spec):
    graph = graph_from_template(spec)
    return None if graph is None else graph.proto.SerializeToString()


@pytest.mark.parametrize("name", ["predict", "recommend", "similar_items", "similarity", "embed_user"])
def test_the_template_of_a_dot_product_gives_what_tracing_gives_byte_for_byte(name):
    assert check_templates((KINDS[0], name)) == []


@pytest.mark.parametrize(("kind", "name"), distinct_graphs(), ids=lambda value: getattr(value, "label", value))
def test_every_kind_of_model_has_templates_for_small_and_large_sizes(kind, name):
    small, large = Range(200, 4000, 6, 30), Range(9000, 12_000, 92, 120)
    # At the smallest sizes there is one column of sign-up answers or attributes.
    for sizes, place in ((small, "fewest"), (small, "anywhere"), (large, "anywhere")):
        graph = graph_from_template(make_spec(kind, name, sizes, place, 3))
        assert graph is not None
        read = {name for node in graph.proto.graph.node for name in node.input if name}
        known = {name for node in graph.proto.graph.node for name in node.output}
        known |= {value.name for value in graph.proto.graph.input} | set(graph.initializers)
        assert read <= known


@pytest.mark.parametrize("architecture", ["dot-product"])
def test_an_export_from_templates_does_not_import_the_exporter(architecture):
    command = [sys.executable, "-c", EXPORT, architecture]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert loaded & {"onnx_ir", "onnxscript", "sympy"} == set()


@pytest.mark.parametrize(
    "spec",
    [
        predict_spec(Scorer(synthetic.make_model(n_factors=2))),
        predict_spec(Scorer(synthetic.make_model(n_items=60_000))),
        replace(predict_spec(Scorer(synthetic.make_model())), outputs=["logit", "rating"]),
    ],
    ids=["fewer factors", "more items", "other names"],
)
def test_what_no_template_was_traced_for_is_left_to_tracing(spec):
    assert proto_of(predict_spec(Scorer(synthetic.make_model()))) is not None
    assert proto_of(spec) is None


def test_a_module_with_an_attribute_that_templates_do_not_know_is_left_to_tracing():
    scorer = Scorer(synthetic.make_model())
    scorer.options = {"slope": 2}
    assert proto_of(predict_spec(scorer)) is None


def test_a_template_that_computes_something_else_is_not_used(tmp_path, monkeypatch, caplog):
    def with_another_bias(spec, *arguments):
        graph = graph_from_template(spec, *arguments)
        if not isinstance(spec.module, Predict):
            return graph
        bias = {name: value + 1 for name, value in graph.initializers.items() if value.size == 1 and value == 0.3}
        return replace(graph, initializers={**graph.initializers, **bias})

    def export(version):
        return export_version(
            synthetic.make_model(), synthetic.make_dataset(), tmp_path, "films", version, metrics={}, hyperparameters={}
        )

    expected = (export("1") / "predict.onnx").read_bytes()
    monkeypatch.setattr(onnx_writer, "graph_from_template", with_another_bias)
    with caplog.at_level(logging.WARNING):
        found = (export("2") / "predict.onnx").read_bytes()
    assert "predict.onnx, case 0: differs from torch" in caplog.text
    assert "torch is traced instead" in caplog.text
    assert found == expected


class Shifted(nn.Module):
    """Adds a number that is computed from a table."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, values):
        return values + float(self.table.sum())


def test_no_template_is_made_of_numbers_that_come_from_tables():
    def spec(n):
        table = torch.from_numpy(np.random.default_rng(n).random(n, dtype=np.float32))
        return GraphSpec(Shifted(table), {"values": torch.zeros(2)}, {"values": {0: "N"}}, ["sums"])

    with pytest.raises(NoTemplateError, match="do not follow from the parameters"):
        derive_template([Trace.of(spec(n)) for n in (5, 7, 12)])


def test_templates_are_small_and_hold_no_tables():
    for path in FOLDER.glob("*.onnx"):
        assert path.stat().st_size < 200_000, path
        assert len(onnx.load(path).graph.initializer) == 0, path
