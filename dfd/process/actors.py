"""How many copies of a network score on a Ray cluster, and what each of them gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfd.base.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """How many networks there are, and what each of them reserves."""

    num_actors: int
    num_gpus: float
    num_cpus: float


def plan_actors(
    nodes: Sequence[Mapping[str, float]],
    *,
    device: str = "auto",
    num_actors: int | None = None,
    num_gpus_per_actor: float | None = None,
    num_cpus_per_video: float = 1,
) -> ActorPlan:
    """Divide a cluster, given as the resources of its nodes, between the network and decoding.

    With GPUs there is an actor for each share of one, and every core decodes; without, half of the cores compute. Where
    both numbers are given the cluster may still grow, and only they count.

    >>> plan_actors([{"CPU": 16, "GPU": 2}, {"CPU": 32}])
    ActorPlan(num_actors=2, num_gpus=1, num_cpus=0)
    >>> plan_actors([{"CPU": 2}])
    ActorPlan(num_actors=1, num_gpus=0, num_cpus=1)

    Raises:
        ConfigError: the cluster does not hold it; Ray would wait for ever.
    """
    num_cpus = sum(node.get("CPU", 0) for node in nodes)
    num_gpus = sum(node.get("GPU", 0) for node in nodes)
    share = num_gpus_per_actor
    if share is None:
        share = 1 if device != "cpu" and (num_gpus or device != "auto") else 0
    if device != "auto" and (device == "cpu") == bool(share):
        raise ConfigError(f"device={device} does not fit num_gpus_per_actor={share:g}; leave one of them out")
    if num_actors is not None and num_gpus_per_actor is not None:
        return ActorPlan(num_actors, share, 0 if share else 1)
    if share:
        room = int(sum(node.get("GPU", 0) // share for node in nodes))
        if not room:
            raise ConfigError(
                f"no node has {share:g} GPU free for the network (the cluster has {num_gpus:g}); use device=cpu, or "
                "give both num_actors and num_gpus_per_actor if nodes with GPUs will join"
            )
    else:
        room = int(num_cpus - num_cpus_per_video)
    wanted = num_actors or (room if share else max(1, min(room, int(num_cpus // 2))))
    if wanted > room or not any(node.get("CPU", 0) >= num_cpus_per_video for node in nodes):
        raise ConfigError(
            f"{wanted} actors with {share:g} GPU each and {num_cpus_per_video:g} CPU for a video to decode do not fit "
            f"a cluster of {num_cpus:g} CPUs and {num_gpus:g} GPUs; lower num_actors or num_cpus_per_video, add nodes, "
            "or use engine=local"
        )
    return ActorPlan(wanted, share, 0 if share else 1)
