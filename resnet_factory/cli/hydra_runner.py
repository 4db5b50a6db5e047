"""Hydra's own runner: check its settings, and print or run its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from resnet_factory.cli.hydra_faults import explained
from resnet_factory.cli.hydra_overrides import block_lists, forced, split, unreadable
from resnet_factory.cli.request import Request
from resnet_factory.config.composition import WHOLE, Composed, Verify, compose_all
from resnet_factory.config.hydra_internals import OWN, ConfigLoaderImpl, Hydra, search_path
from resnet_factory.config.override_grammar import command_line
from resnet_factory.config.overrides import read_overrides
from resnet_factory.config.permission import refusals
from resnet_factory.config.repository import Library, conf_dir, user_dir
from resnet_factory.config.yaml_source import load, position
from resnet_factory.errors import ConfigError, Fault


def print_jobs(
    config: str, wanted: Request, config_dir: str | Path | None, part: str, package: str | None, resolve: bool
) -> None:
    """Print the configuration of each job of a multirun, as YAML documents.

    Raises:
        ConfigError: the jobs are chosen by another sweeper, or Hydra cannot compose one.
    """
    if wanted.jobs is None:
        message = "the jobs are up to the sweeper, so their configurations cannot be printed before"
        raise ConfigError([Fault("", message, "command line '--cfg'")])
    library = Library.of(user_dir(config_dir))
    others = split(wanted.words)[1]
    with _hydra(config_dir) as hydra:
        for number, job in enumerate(wanted.jobs):
            base = library.compose(config, read_overrides(job, library).choices).data
            own = forced(job, library, [base], WHOLE.get(config, ()))
            words = [*others, *block_lists([base]), *own]
            print(*(["---"] if number else []), f"# job {number}: {' '.join(job)}", sep="\n")
            with explained(hydra, config, words, RunMode.RUN):
                hydra.show_cfg(config, words, part, package, resolve)


class HydraJob(NamedTuple):
    """One job of a multirun, as seen by the job itself."""

    number: int
    overrides: list[str]
    verb: str
    config_dir: str | None


def from_hydra(config_dir: str | Path | None = None, *, verify: Verify | None = None) -> Composed:
    """Compose the configuration of Hydra's current job from its overrides.

    Hydra chooses and launches the jobs; their configurations are composed here, as for a single run.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    job = job_of_hydra()
    return compose_all(job.verb, job.overrides, config_dir, verify=verify)


def job_of_hydra() -> HydraJob:
    """Return Hydra's current job, in whichever process the launcher runs it."""
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == OWN]
    task, verb = list(hydra.overrides.task), str(hydra.job.config_name)
    return HydraJob(int(hydra.job.num), task, verb, own[0] if own else None)


def sweep_folder(config: str, wanted: Request, config_dir: str | Path | None) -> Path:
    """Return the output folder of a multirun by Hydra's settings, from files and overrides.

    Raises:
        ConfigError: Hydra's own settings are invalid.
    """
    library = Library.of(user_dir(config_dir))
    with _hydra(config_dir) as hydra:
        for chosen in _choices_of_jobs(wanted, library):
            _settings(hydra, config, Request(chosen), RunMode.RUN)
        return Path(str(_settings(hydra, config, wanted, RunMode.MULTIRUN).hydra.sweep.dir))


def _choices_of_jobs(wanted: Request, library: Library) -> list[list[str]]:
    """Return the jobs' distinct overrides of Hydra's settings and files, if they differ between jobs."""
    others = split(wanted.words)[1]
    found = []
    for job in wanted.jobs or ():
        chosen = [word for word in job if library.is_group(word.lstrip("+~").partition("=")[0])]
        if chosen not in found:
            found.append(chosen)
    return [[*chosen, *others] for chosen in found] if len(found) > 1 else []


def check_settings(config: str, wanted: Request, config_dir: str | Path | None) -> None:
    """Refuse settings of Hydra's own that fail in a single run, or that would run code.

    Raises:
        ConfigError: with the faults found.
    """
    with _hydra(config_dir) as hydra:
        _settings(hydra, config, wanted, RunMode.RUN)


def run_jobs(
    config: str, wanted: Request, folder: Path, config_dir: str | Path | None, task: Callable[[Any], None]
) -> None:
    """Run a multirun's jobs by Hydra, with its own files in `folder`.

    Raises:
        ConfigError: Hydra refuses a job, or its own settings.
    """
    words = [*wanted.words, f"hydra.sweep.dir={_quoted(folder)}", "hydra.mode=MULTIRUN"]
    with (
        _hydra(config_dir, checked=wanted.jobs is not None) as hydra,
        explained(hydra, config, wanted.words, RunMode.MULTIRUN),
    ):
        hydra.multirun(config_name=config, task_function=task, overrides=words)


def _quoted(folder: Path) -> str:
    """Return a path quoted for Hydra's grammar."""
    text = str(folder).replace("'", r"\'")
    return f"'{text}'"


class _Loader(ConfigLoaderImpl):
    """Hydra's config loader, which refuses settings that would run code, in every job it composes."""

    def __init__(self, search: ConfigSearchPath, *, checked: bool) -> None:
        super().__init__(search)
        self.checked = checked
        """Whether the jobs were checked here, so that Hydra's trial composition of each is superfluous."""
        self.asked: set[tuple[str, ...]] = set()

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose a job's configuration, except on the first (trial) call for a job that was checked."""
        job = tuple(sweep_overrides)
        if self.checked and job not in self.asked:
            self.asked.add(job)
            return master_config
        return super().load_sweep_config(master_config, sweep_overrides)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose, and check the settings that Hydra would instantiate.

        Raises:
            ConfigError: a setting would run code.
        """
        config = super().load_configuration(
            config_name, overrides, run_mode, from_shell, validate_sweep_overrides
        )
        if found := list(refusals(config.hydra)):
            files = self._own_files(config_name, overrides, run_mode)
            raise ConfigError(
                Fault(".".join(keys), message, _origin(keys, files, overrides)) for keys, message in found
            )
        return config

    def _own_files(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode
    ) -> list[tuple[tuple[str, ...], Path]]:
        """Return the user's files of a configuration, each with the key that its data is merged below."""
        own = [source.path for source in self.get_sources() if source.provider == OWN]
        listed = self.compute_defaults_list(config_name, overrides, run_mode).defaults if own else []
        return [
            (tuple((default.package or "").split(".")) if default.package else (), file)
            for default in listed
            if (file := Path(own[0], f"{default.config_path}.yaml")).is_file()
        ]


def _origin(keys: Sequence[str], files: Sequence[tuple[tuple[str, ...], Path]], words: Sequence[str]) -> str:
    """Return the override or file line that sets a key of Hydra's settings, or the closest key above it."""
    for end in range(len(keys), 0, -1):
        path = ".".join(keys[:end])
        for word in reversed(words):
            key = word.lstrip("+~").partition("=")[0]
            dotted = key.replace("/", ".")
            if dotted == path or (end > 1 and dotted.startswith(f"{path}.")):
                return command_line(word)
        for above, file in reversed(files):
            inner = list(keys[len(above) : end])
            if tuple(keys[: len(above)]) == above and inner and _has(load(file), inner):
                return position(file, inner)
    return "command line '-m'"


def _has(data: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        data = data.get(key, ...) if isinstance(data, Mapping) else ...
    return data is not ...


@contextmanager
def _hydra(config_dir: str | Path | None, *, checked: bool = False) -> Iterator[Hydra]:
    """Return Hydra set up as on its command line, with our folder and then the user's on the search path."""
    version.setbase("1.3")
    search = search_path(conf_dir(), user_dir(config_dir))
    try:
        hydra = Hydra.create_main_hydra2(task_name="resnet-factory", config_search_path=search)
        hydra.config_loader = _Loader(search, checked=checked)
        yield hydra
    finally:
        GlobalHydra.instance().clear()


def _settings(hydra: Hydra, config: str, wanted: Request, mode: RunMode) -> DictConfig:
    others = split(wanted.words)[1]
    if faults := [fault for word in others if (fault := unreadable(word)) is not None]:
        raise ConfigError(faults)
    with explained(hydra, config, wanted.words, mode):
        settings = hydra.compose_config(config, wanted.words, mode, with_log_configuration=False)
        HydraConfig.instance().set_config(settings)
        OmegaConf.to_container(settings.hydra.sweep, resolve=True)
        return settings
