"""Write a report: one HTML file that shows a model version to people."""

from cofactor_trainer.report.page import write_report

__all__ = ["write_report"]
