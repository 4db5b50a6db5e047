"""Trained error as a metric: a picklable function from a config to errors over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.config import schema
from resnet_factory.config.composition import compose_all
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.study.jobs import StudyJob, new_study_job
from resnet_factory.study.preflight import preflight_settings
from resnet_factory.study.settings import DataSettings, MachineSettings, TrainSettings
from resnet_factory.study.settings_reader import fill_settings, read_data_settings
from resnet_factory.study.summary import StudyNetworkSummary, summaries_at_best_rates
from resnet_factory.study.training_result import RUNNING, TrainingResult, read_result

if TYPE_CHECKING:
    from resnet_factory.study.trainer import Trainer


class TrainedErrorInterrupted(Exception):  # noqa: N818 - a request was followed
    """Raised when training was asked to stop; checkpoints are in the metric's folder, if it has one."""


@dataclass(frozen=True, kw_only=True)
class TrainedError:
    """Trains a network from each seed, in this process, and returns its errors.

    Holds plain data only, so that it can be pickled and sent to other processes and machines. Calling it
    imports torch; making it does not.

    >>> metric = TrainedError.compose("train.epochs=5", "seeds=[0,1,2]")
    >>> row = metric(rf.compose("resnet20"))
    >>> row.test_loss.mean, row.test_loss.deviation, row.test_error.values
    """

    data: DataSettings
    train: TrainSettings
    machine: MachineSettings
    rates: tuple[float, ...]
    """Learning rates."""
    seeds: tuple[int, ...]
    folder: str | None = None
    """The folder of results, which are continued; None keeps nothing."""

    @classmethod
    def compose(
        cls, *overrides: str, config_dir: str | Path | None = None, folder: str | None = None
    ) -> TrainedError:
        """Return the metric of a study's data, training, learning rates and seeds; by default study=compare.

        Raises:
            ConfigError: with every fault in the overrides, or naming what is not installed.
        """
        settings = preflight_settings(compose_all("study", ["study=compare", *overrides], config_dir))
        return cls(
            data=settings.data, train=settings.train, machine=settings.machine, rates=settings.rates,
            seeds=settings.seeds, folder=folder,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainedError:
        """Return the metric of `to_dict`, also after JSON.

        Raises:
            ConfigError: these are not its data.
        """
        faults: list[Fault] = []
        made = cls(
            data=read_data_settings(data["data"], faults),
            train=fill_settings(TrainSettings, data["train"], "train", faults),
            machine=fill_settings(MachineSettings, data["machine"], "machine", faults),
            rates=tuple(data["rates"]), seeds=tuple(data["seeds"]), folder=data["folder"],
        )  # fmt: skip
        if faults:
            raise ConfigError(faults)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, fit for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        train = self.train
        length = f"{train.iterations} iterations" if train.iterations else f"{train.epochs} epochs"
        return f"{self.data.source}, {length} of batches of {train.batch}, {len(self.seeds)} seeds"

    def __call__(
        self, config: schema.ModelConfig | Mapping[str, Any], stop: Callable[[], bool] = lambda: False
    ) -> StudyNetworkSummary:
        """Return the network at its best learning rate, with one run for each seed.

        `config` is a ModelConfig or its `to_dict()`; its input channels and classes become the data's. A run
        that diverges or fails is among `row.runs` with its reason; `row.test_error` is None where none was
        trained to the end. `stop` is called after every iteration.

        Raises:
            ConfigError: the network cannot take this data's images.
            TrainedErrorInterrupted: `stop` returned true.
        """
        from resnet_factory.study.distributed import process_group
        from resnet_factory.study.trainer import Trainer

        read = config if isinstance(config, schema.ModelConfig) else schema.read_config(config)
        label = read.name or "network"
        jobs = [
            new_study_job(read, self.data, self.train, self.machine, rate=rate, seed=seed, label=label)
            for rate in self.rates
            for seed in self.seeds
        ]
        with process_group(self.machine.device) as group:
            trainer = Trainer(group)
            return summaries_at_best_rates([self._result(trainer, job, stop) for job in jobs])[0]

    def _result(self, trainer: Trainer, job: StudyJob, stop: Callable[[], bool]) -> TrainingResult:
        folder = None if self.folder is None else Path(self.folder) / job.name
        before = None if folder is None else read_result(folder)
        if before is not None and before.finished:
            return before
        result = None if stop() else trainer.attempt(job, folder, stop=stop)
        if result is None or result.state == RUNNING:
            raise TrainedErrorInterrupted
        return result
