"""Pages of one file that a browser opens without a network."""

__all__: list[str] = []
