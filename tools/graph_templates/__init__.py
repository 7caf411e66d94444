"""Make the templates of the graphs, and compare them with fresh traces: `python -m tools.graph_templates`."""
