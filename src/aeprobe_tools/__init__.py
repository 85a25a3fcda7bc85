"""Tools for finished runs: tables, figures, pages, evaluations, and the commands that use a run."""
