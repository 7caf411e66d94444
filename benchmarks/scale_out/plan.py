"""Write docs/scale.md: sizes for a billion users, from measured constants: `python -m benchmarks.scale_out.plan`."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale_out.simulation import Outcome, Zones, open_loop
from cofactor.v1 import recommender_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9


@dataclass(frozen=True)
class Demand:
    """The demand that has to be served."""

    users: float = 1e9
    items: float = 1e8
    rate: float = 1e6
    factors: int = 64
    ratings_per_user: int = 50
    id_bytes: int = 12
    title_bytes: int = 28


@dataclass(frozen=True)
class Costs:
    """The costs of the parts. Measured on this project's machine, unless `assumed` is in the comment.

    docs/capacity.md has call_s and item_s (direct); docs/benchmarks/approximate.md has the index of 5 million items.
    """

    call_s: float = 57e-6
    item_s: float = 9.59e-9
    index_s: float = 1.02e-3
    index_items: float = 5e6
    index_bytes: float = 422e6 / 5e6
    utilisation: float = 0.4  # with three zones, 0.6 when one is lost
    cores: int = 64  # assumed, as all below
    memory_gb: float = 512
    machine_hour: float = 3.6
    network_gbit: float = 25
    gpu_hour: float = 4.0
    gpu_bytes_s: float = 4.8e12  # H200, its maker's figure
    gpu_flop_s: float = 400e12  # half of what it says for dense 16-bit products


def memory(demand: Demand, costs: Costs) -> dict[str, float]:
    """Return bytes by the formulas of docs/capacity.md: four parts of every machine, three that divide by users."""
    row = 4 * (demand.factors + 3)
    return {
        "item factors, by item": demand.items * row,
        "item factors, by factor": demand.items * row,
        "index of candidates": demand.items * costs.index_bytes,
        "item names, years, counts": demand.items * (40 + demand.id_bytes + demand.title_bytes),
        "user factors": demand.users * 4 * (demand.factors + 1),
        "ratings of each user": demand.users * 8 * (1 + demand.ratings_per_user),
        "user ids": demand.users * (8 + demand.id_bytes),
    }


def request_seconds(demand: Demand, costs: Costs) -> float:
    """Return processor seconds of a Recommend from the index; the index grows with the square root of the items."""
    return costs.call_s + costs.index_s * math.sqrt(demand.items / costs.index_items)


def shards(demand: Demand, costs: Costs) -> dict[str, float]:
    """Return how users are divided over machines with this server as it is."""
    sizes = list(memory(demand, costs).values())
    shared, divided = sum(sizes[:4]), sum(sizes[4:])
    room = costs.memory_gb * GB * 0.5 - shared  # a new version is loaded beside the old one
    count = math.ceil(divided / room)
    cores = demand.rate * request_seconds(demand, costs) / costs.utilisation
    machines = max(3 * count, 3 * count * math.ceil(cores / costs.cores / count / 3))
    return {
        "shards": count,
        "version_gb": (shared + divided / count) / GB,
        "cores": cores,
        "machines": machines,
        "per_shard_and_zone": machines / count / 3,
        "cost_hour": machines * costs.machine_hour,
        "cost_million": machines * costs.machine_hour / demand.rate / 3600 * 1e6,
        "copy_minutes": (shared + divided / count) * 8 / (costs.network_gbit * 1e9 * 0.5) / 60,
    }


def engines(demand: Demand, costs: Costs, candidates: int = 1000) -> dict[str, float]:
    """Return sizes with candidates from a vector engine, and with exact search on GPUs."""
    scoring = demand.rate * (costs.call_s + candidates * costs.item_s) / costs.utilisation
    table = demand.items * demand.factors * 2
    batch = 128
    pass_s = table / costs.gpu_bytes_s + 2 * demand.items * demand.factors * batch / costs.gpu_flop_s
    gpus = demand.rate / (batch / pass_s) / costs.utilisation
    return {"scoring_cores": scoring, "gpu_table_gb": table / GB, "gpu_pass_ms": pass_s * 1e3, "gpus": math.ceil(gpus)}


def response_bytes(demand: Demand) -> int:
    """Return the size of a response of ten items with ids, scores and predicted ratings."""
    item = pb.ScoredItem(item_id="i" * demand.id_bytes, score=3.5, predicted_rating=4.5)
    return pb.RecommendResponse(results=[item] * 10).ByteSize()


def zone_loss(demand: Demand, costs: Costs, utilisation: float, notice: float) -> dict[str, str]:
    """Simulate 60 cores in three zones, one of which is lost after 10 s; return percentiles by time."""
    mean, generator = request_seconds(demand, costs), random.Random(1)
    services = [mean * generator.triangular(0.55, 1.95, 0.8) for _ in range(5000)]
    scale = mean / (sum(services) / len(services))
    services = [seconds * scale for seconds in services]
    zones = Zones(20, 3, lost_at=10, notice=notice)
    outcome = open_loop(zones, 60 * utilisation / mean, services, 30, seed=1)
    periods = {"before": (2, 10), "while unnoticed": (10, 10 + notice), "next 5 s": (10 + notice, 15 + notice)}
    return {name: _percentiles(outcome, *period) for name, period in {**periods, "later": (22, 30)}.items()}


def _percentiles(outcome: Outcome, begin: float, end: float) -> str:
    """Return the 50th and 99th percentile of calls that began in a period, in milliseconds."""
    pairs = zip(outcome.seconds, outcome.ends, strict=True)
    inside = Outcome(0, [seconds for seconds, stop in pairs if begin <= stop - seconds < end], [])
    return f"{inside.percentile(0.5) * 1e3:,.0f} / {inside.percentile(0.99) * 1e3:,.0f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def checked() -> tuple[str, str]:
    """Return the table of the comparison with real servers, and a sentence about its machine."""
    found = json.loads((Path(__file__).parent / "check.json").read_text("utf-8"))
    rows = []
    for row in found["rows"]:
        times = [f"{row[f'predicted_{name}_ms']:.1f} / {row[f'{name}_ms']:.1f}" for name in ("p50", "p99")]
        off = f"{(row['rate_ratio'] - 1) * 100:+.0f} %"
        rates = f"{row['predicted_rate']:.0f} / {row['rate']:.0f}"
        rows.append([str(int(row["servers"])), str(int(row["in_flight"])), rates, off, *times])
    header = ["servers", "in flight", "responses/s: predicted / measured", "off by", "p50, ms", "p99, ms"]
    return table(header, rows), f"{found['machine']}, at a load of {found['load']} from other programs"


def main() -> None:
    """Write the page."""
    demand, costs = Demand(), Costs()
    comparison, machine = checked()
    sizes = [[name, f"{size / GB:,.1f} GB"] for name, size in memory(demand, costs).items()]
    losses = [
        [f"{utilisation:.1f}", f"{notice:g} s", *zone_loss(demand, costs, utilisation, notice).values()]
        for utilisation, notice in ((0.4, 5), (0.4, 0.5), (0.6, 5))
    ]
    header = ["utilisation", "noticed after", "before", "while unnoticed", "next 5 s", "later"]
    values = {
        **{name: f"{value:,.0f}" for name, value in (shards(demand, costs) | engines(demand, costs)).items()},
        "cost_million": f"{shards(demand, costs)['cost_million']:.2f}",
        "copy_minutes": f"{shards(demand, costs)['copy_minutes']:.0f}",
        "gpu_pass_ms": f"{engines(demand, costs)['gpu_pass_ms']:.1f}",
        "gpu_cost": f"{engines(demand, costs)['gpus'] * costs.gpu_hour:,.0f}",
        "request_ms": f"{request_seconds(demand, costs) * 1e3:.1f}",
        "exact_ms": f"{(costs.call_s + demand.items * costs.item_s) * 1e3:,.0f}",
        "response_bytes": str(response_bytes(demand)),
        "network_gbit": f"{demand.rate * (response_bytes(demand) + 400) * 8 / 1e9:.0f}",
        "rollout_tb": f"{shards(demand, costs)['version_gb'] * shards(demand, costs)['machines'] / 1e3:,.0f}",
        "comparison": comparison,
        "machine": machine,
        "memory": table(["part", "size"], sizes),
        "zones": table(header, losses),
    }
    page = (Path(__file__).parent / "page.md").read_text("utf-8")
    (ROOT / "docs" / "scale.md").write_text(page.format(**values), encoding="utf-8")


if __name__ == "__main__":
    main()
