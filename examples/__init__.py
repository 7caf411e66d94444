"""Example programs. `examples.demo` shows the whole of Cofactor, from ratings to recommendations."""
