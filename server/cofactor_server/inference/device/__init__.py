"""Graphs on a device, such as a GPU: tables, sessions, the graph of Recommend, placement, failures."""
