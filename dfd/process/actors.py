"""How many copies of a network score on a Ray cluster, and what each of them gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfd.base.errors import ConfigError

CPUS_OF_AN_ACTOR = 0.01
"""Share of a core that a network without a GPU reserves, and that videos leave to it.

It computes on a whole one. But a network of a lost node starts again on another, and if it reserved a core there, the
survivors of a cluster could be full of networks that wait for videos which no core is left to decode.
"""


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """How many networks there are, and what each of them, and each video, reserves."""

    num_actors: int
    num_gpus: float
    num_cpus: float
    num_cpus_per_video: float


def plan_actors(
    nodes: Sequence[Mapping[str, float]],
    *,
    device: str = "auto",
    num_actors: int | None = None,
    num_gpus_per_actor: float | None = None,
    num_cpus_per_video: float = 1,
) -> ActorPlan:
    """Divide a cluster, given as the resources of its nodes, between the network and decoding.

    Every core decodes. With GPUs there is an actor for each share of one; without, one for every two cores, which they
    share with decoding. Where both numbers are given the cluster may still grow, and only they count.

    >>> plan_actors([{"CPU": 16, "GPU": 2}, {"CPU": 32}])
    ActorPlan(num_actors=2, num_gpus=1, num_cpus=0, num_cpus_per_video=1)
    >>> plan_actors([{"CPU": 2}])
    ActorPlan(num_actors=1, num_gpus=0, num_cpus=0.01, num_cpus_per_video=0.99)

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
    reserved = (0, num_cpus_per_video) if share else (CPUS_OF_AN_ACTOR, num_cpus_per_video * (1 - CPUS_OF_AN_ACTOR))
    if num_actors is not None and num_gpus_per_actor is not None:
        return ActorPlan(num_actors, share, *reserved)
    if share:
        room = int(sum(node.get("GPU", 0) // share for node in nodes))
        if not room:
            raise ConfigError(
                f"no node has {share:g} GPU free for the network (the cluster has {num_gpus:g}); use device=cpu, or "
                "give both num_actors and num_gpus_per_actor if nodes with GPUs will join"
            )
    else:
        room = int(num_cpus)
    wanted = num_actors or (room if share else max(1, min(room, int(num_cpus // 2))))
    if wanted > room or not any(node.get("CPU", 0) >= num_cpus_per_video for node in nodes):
        raise ConfigError(
            f"{wanted} actors with {share:g} GPU each and {num_cpus_per_video:g} CPU for a video to decode do not fit "
            f"a cluster of {num_cpus:g} CPUs and {num_gpus:g} GPUs; lower num_actors or num_cpus_per_video, add nodes, "
            "or use engine=local"
        )
    return ActorPlan(wanted, share, *reserved)
