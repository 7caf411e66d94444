"""Templates of graphs: traced once, by `python -m tools.graph_templates`, and filled in by every export."""
