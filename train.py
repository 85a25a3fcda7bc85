"""Trains and measures: `python train.py --help` shows what can be typed.

Nothing heavy is imported here, so that help, a printed configuration and a typo cost a second.
"""

import sys

try:
    import hydra
    from omegaconf import DictConfig

    from aeprobe.cli import train as cli
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed: run `make setup`, then `source .venv/bin/activate`")
except KeyboardInterrupt:  # later ones are told by `cli.run`
    print("error: interrupted", file=sys.stderr)
    sys.exit(130)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one run, or one job of a multirun; return its objective."""
    return cli.job(cfg)


if __name__ == "__main__":
    sys.exit(cli.run(main))
