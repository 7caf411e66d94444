"""Start processes: one server alone, or a supervisor with worker processes."""
