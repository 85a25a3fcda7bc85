"""The configuration: its schema, its checks, and how it is typed. Needs no torch."""
