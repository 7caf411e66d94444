"""Make a release: `make release`, or `python -m tools.release --help`. See docs/releasing.md."""
