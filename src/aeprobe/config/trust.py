"""The classes that a person's own configuration lets a stored one name."""

from aeprobe.config.schema import Config, every_node
from aeprobe.nodes import trusts


def trusted_in(config: Config, stored: bool = False) -> list[str]:
    """Return what a checkpoint may name for a run: the person's plugins, and each class that they named for it.

    The names of a `stored` configuration, which came with a file, say nothing.
    """
    named = () if stored else (node["_target_"] for _, node, _ in every_node(config))
    return [*config.plugins, *filter(None, named)]


def strange_packages(config: Config) -> list[str]:
    """Return the packages of a stage's classes that a later run, or another person, has to trust by name."""
    targets = (str(node["_target_"]) for _, node, _ in every_node(config) if node["_target_"])
    return sorted({target.partition(".")[0] for target in targets if not trusts(target)})
