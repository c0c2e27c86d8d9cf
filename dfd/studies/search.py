"""A search space in Hydra's own words."""

from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from dfd.errors import ConfigError
from dfd.tuning import import_optuna


def distributions(overrides: Iterable[Override]) -> dict[str, Any]:
    """What Optuna draws each key's values from.

    ``choice(a, b)`` and ``a,b`` are choices; ``interval(0.1, 1)`` is any real number of that range, ``int(interval(1,
    8))`` a whole one; ``range(10, 101, step=10)`` are whole numbers in steps, its end left out as in Python.
    ``tag(log, interval(…))`` searches on a logarithmic scale.

    Raises:
        ConfigError: a key cannot be searched in this way.
    """
    kinds = import_optuna().distributions
    space: dict[str, Any] = {}
    for override in overrides:
        key = override.get_key_element()
        value: Any = override.value()
        try:
            if isinstance(value, IntervalSweep):
                is_whole = all(isinstance(end, int) for end in (value.start, value.end))
                kind = kinds.IntDistribution if is_whole else kinds.FloatDistribution
                space[key] = kind(value.start, value.end, log="log" in value.tags)
            elif isinstance(value, RangeSweep):
                numbers = list(value.range())
                if not all(isinstance(number, int) for number in numbers):
                    raise ConfigError(f"{key}: a range is of whole numbers; use interval(…) for real ones")
                space[key] = kinds.IntDistribution(min(numbers), max(numbers), step=abs(value.step))
            elif isinstance(value, ChoiceSweep):
                # As text, as it is written on the command line: it comes back the same from any storage.
                space[key] = kinds.CategoricalDistribution(list(override.sweep_string_iterator()))
            else:
                raise ConfigError(f"{key}: a search takes choice(…), range(…) or interval(…)")
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error
    return space


def is_log(override: Override) -> bool:
    """Whether it is searched, and drawn, on a logarithmic scale: by its tag."""
    return "log" in getattr(override.value(), "tags", ())
