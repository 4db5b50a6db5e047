"""Trained error as a figure of merit: a picklable function from a config to errors over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.config import schema
from resnet_factory.config.composition import compose_all
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.study import result
from resnet_factory.study.jobs import Job, job
from resnet_factory.study.preflight import ready
from resnet_factory.study.result import Outcome
from resnet_factory.study.settings import Data, Machine, Train
from resnet_factory.study.settings_reader import fill, read_data
from resnet_factory.study.summary import Row, best

if TYPE_CHECKING:
    from resnet_factory.study.trainer import Trainer


class Interrupted(Exception):  # noqa: N818 - a wish, not a mistake
    """Training was asked to stop; what is done lies in the metric's folder, if it has one."""


@dataclass(frozen=True)
class TrainedError:
    """Trains a network from each seed, in this process, and says how well it did.

    Holds plain data only, so it pickles and can be sent to other processes and machines. Calling it
    imports torch; making it does not.

    >>> metric = TrainedError.compose("train.epochs=5", "seeds=[0,1,2]")
    >>> row = metric(rf.compose("resnet20"))
    >>> row.test_loss.mean, row.test_loss.deviation, row.test_error.values
    """

    data: Data
    train: Train
    machine: Machine
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    folder: str | None = None
    """Where results are kept and taken up again; None keeps nothing."""

    @classmethod
    def compose(
        cls, *overrides: str, config_dir: str | Path | None = None, folder: str | None = None
    ) -> TrainedError:
        """The metric of a study's data, recipe, rates and seeds; `study=compare` unless overrides say so.

        Raises:
            ConfigError: with every fault in the overrides, or naming what is not installed.
        """
        composed = compose_all("study", ["study=compare", *overrides], config_dir)
        settings = ready(composed)
        return cls(settings.data, settings.train, settings.machine, settings.rates, settings.seeds, folder)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainedError:
        """The metric that `to_dict` gave; the data may have been JSON in between.

        Raises:
            ConfigError: these are not its data.
        """
        faults: list[Fault] = []
        made = cls(
            read_data(data["data"], faults),
            fill(Train, data["train"], "train", faults),
            fill(Machine, data["machine"], "machine", faults),
            tuple(data["rates"]),
            tuple(data["seeds"]),
            data["folder"],
        )
        if faults:
            raise ConfigError(faults)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        train = self.train
        length = f"{train.iterations} iterations" if train.iterations else f"{train.epochs} epochs"
        return f"{self.data.source}, {length} of batches of {train.batch}, {len(self.seeds)} seeds"

    def __call__(
        self, config: schema.ModelConfig | Mapping[str, Any], stop: Callable[[], bool] = lambda: False
    ) -> Row:
        """The network at its best learning rate, one run for each seed.

        `config` is a ModelConfig or its `to_dict()`; its input channels and classes become the data's. A
        run that diverges or fails is among `row.runs` with its reason; `row.test_error` is None where none
        came to its end. `stop` is asked after every iteration.

        Raises:
            ConfigError: the network cannot take this data's images.
            Interrupted: `stop` said so.
        """
        from resnet_factory.study.distributed import joined
        from resnet_factory.study.trainer import Trainer

        read = config if isinstance(config, schema.ModelConfig) else schema.read(config)
        jobs = [
            job(read, self.data, self.train, self.machine, rate=rate, seed=seed, label=read.name or "network")
            for rate in self.rates
            for seed in self.seeds
        ]
        with joined(self.machine.device) as world:
            trainer = Trainer(world)
            return best([self._outcome(trainer, each, stop) for each in jobs])[0]

    def _outcome(self, trainer: Trainer, each: Job, stop: Callable[[], bool]) -> Outcome:
        place = None if self.folder is None else Path(self.folder) / each.name
        before = None if place is None else result.read(place)
        if before is not None and before.finished:
            return before
        if stop():
            raise Interrupted
        found = trainer.attempt(each, place, stop=stop)
        if found.state == result.RUNNING:
            raise Interrupted
        return found
