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

from resnet_factory.cli.hydra_faults import explain_hydra_error
from resnet_factory.cli.hydra_overrides import (
    block_list_overrides,
    force_hydra_overrides,
    split_hydra_overrides,
    unreadable_hydra_overrides,
)
from resnet_factory.cli.request import CommandRequest
from resnet_factory.config.composition import WHOLE, Composed, Verify, compose_all
from resnet_factory.config.hydra_internals import OWN, ConfigLoaderImpl, Hydra, hydra_search_path
from resnet_factory.config.library import Library, conf_dir, user_library_dir
from resnet_factory.config.override_grammar import override_location
from resnet_factory.config.overrides import read_overrides
from resnet_factory.config.permission import permission_refusals
from resnet_factory.config.yaml_source import load_yaml, yaml_position
from resnet_factory.errors import ConfigError, Fault


def print_hydra_jobs(
    config: str,
    wanted: CommandRequest,
    config_dir: str | Path | None,
    part: str,
    package: str | None,
    resolve: bool,
) -> None:
    """Print the configuration of each job of a multirun, as YAML documents.

    Raises:
        ConfigError: the jobs are chosen by another sweeper, or Hydra cannot compose one.
    """
    if wanted.jobs is None:
        message = (
            "the sweeper chooses the jobs while they run; their configurations cannot be printed beforehand"
        )
        raise ConfigError([Fault("", message, "command line '--cfg'")])
    library = Library.of(user_library_dir(config_dir))
    others = split_hydra_overrides(wanted.words)[1]
    with _hydra_runner_config(config_dir) as hydra:
        for number, job in enumerate(wanted.jobs):
            base = library.compose(config, read_overrides(job, library).choices).data
            own = force_hydra_overrides(job, library, [base], WHOLE.get(config, ()))
            words = [*others, *block_list_overrides([base]), *own]
            print(*(["---"] if number else []), f"# job {number}: {' '.join(job)}", sep="\n")
            with explain_hydra_error(hydra, config, words, RunMode.RUN):
                hydra.show_cfg(config, words, part, package, resolve)


class HydraJob(NamedTuple):
    """One job of a multirun, as seen by the job itself."""

    number: int
    overrides: list[str]
    verb: str
    config_dir: str | None


def request_from_hydra(config_dir: str | Path | None = None, *, verify: Verify | None = None) -> Composed:
    """Compose the configuration of Hydra's current job from its overrides.

    Hydra chooses and launches the jobs; their configurations are composed here, as for a single run.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    job = current_hydra_job()
    return compose_all(job.verb, job.overrides, config_dir, verify=verify)


def current_hydra_job() -> HydraJob:
    """Return Hydra's current job, in whichever process the launcher runs it."""
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == OWN]
    task, verb = list(hydra.overrides.task), str(hydra.job.config_name)
    return HydraJob(int(hydra.job.num), task, verb, own[0] if own else None)


def hydra_sweep_folder(config: str, wanted: CommandRequest, config_dir: str | Path | None) -> Path:
    """Return the output folder of a multirun by Hydra's settings, from files and overrides.

    Raises:
        ConfigError: Hydra's own settings are invalid.
    """
    library = Library.of(user_library_dir(config_dir))
    with _hydra_runner_config(config_dir) as hydra:
        for chosen in _choices_of_hydra_jobs(wanted, library):
            _hydra_settings(hydra, config, CommandRequest(chosen), RunMode.RUN)
        return Path(str(_hydra_settings(hydra, config, wanted, RunMode.MULTIRUN).hydra.sweep.dir))


def _choices_of_hydra_jobs(wanted: CommandRequest, library: Library) -> list[list[str]]:
    """Return the jobs' distinct overrides of Hydra's settings and files, if they differ between jobs."""
    others = split_hydra_overrides(wanted.words)[1]
    found = []
    for job in wanted.jobs or ():
        chosen = [word for word in job if library.is_group(word.lstrip("+~").partition("=")[0])]
        if chosen not in found:
            found.append(chosen)
    return [[*chosen, *others] for chosen in found] if len(found) > 1 else []


def check_hydra_settings(config: str, wanted: CommandRequest, config_dir: str | Path | None) -> None:
    """Refuse settings of Hydra's own that fail in a single run, or that would run code.

    Raises:
        ConfigError: with the faults found.
    """
    with _hydra_runner_config(config_dir) as hydra:
        _hydra_settings(hydra, config, wanted, RunMode.RUN)


def run_hydra_jobs(
    config: str,
    wanted: CommandRequest,
    folder: Path,
    config_dir: str | Path | None,
    task: Callable[[Any], object],
) -> None:
    """Run a multirun's jobs by Hydra, with its own files in `folder`.

    Raises:
        ConfigError: Hydra refuses a job, or its own settings.
    """
    words = [*wanted.words, f"hydra.sweep.dir={_quoted_for_hydra(folder)}", "hydra.mode=MULTIRUN"]
    with (
        _hydra_runner_config(config_dir, checked=wanted.jobs is not None) as hydra,
        explain_hydra_error(hydra, config, wanted.words, RunMode.MULTIRUN),
    ):
        hydra.multirun(config_name=config, task_function=task, overrides=words)


def _quoted_for_hydra(folder: Path) -> str:
    """Return a path quoted for Hydra's grammar."""
    text = str(folder).replace("'", r"\'")
    return f"'{text}'"


class _HydraConfigLoader(ConfigLoaderImpl):
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
        if found := list(permission_refusals(config.hydra)):
            files = self._own_files(config_name, overrides, run_mode)
            raise ConfigError(
                Fault(".".join(keys), message, _hydra_setting_origin(keys, files, overrides))
                for keys, message in found
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


def _hydra_setting_origin(
    keys: Sequence[str], files: Sequence[tuple[tuple[str, ...], Path]], words: Sequence[str]
) -> str:
    """Return the override or file line that sets a key of Hydra's settings, or the closest key above it."""
    for end in range(len(keys), 0, -1):
        path = ".".join(keys[:end])
        for word in reversed(words):
            key = word.lstrip("+~").partition("=")[0]
            dotted = key.replace("/", ".")
            if dotted == path or (end > 1 and dotted.startswith(f"{path}.")):
                return override_location(word)
        for above, file in reversed(files):
            inner = list(keys[len(above) : end])
            if tuple(keys[: len(above)]) == above and inner and _has_hydra_key(load_yaml(file), inner):
                return yaml_position(file, inner)
    return "command line '-m'"


def _has_hydra_key(data: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        data = data.get(key, ...) if isinstance(data, Mapping) else ...
    return data is not ...


@contextmanager
def _hydra_runner_config(config_dir: str | Path | None, *, checked: bool = False) -> Iterator[Hydra]:
    """Return Hydra set up as on its command line, with our folder and then the user's on the search path."""
    version.setbase("1.3")
    search = hydra_search_path(conf_dir(), user_library_dir(config_dir))
    try:
        hydra = Hydra.create_main_hydra2(task_name="resnet-factory", config_search_path=search)
        hydra.config_loader = _HydraConfigLoader(search, checked=checked)
        yield hydra
    finally:
        GlobalHydra.instance().clear()


def _hydra_settings(hydra: Hydra, config: str, wanted: CommandRequest, mode: RunMode) -> DictConfig:
    others = split_hydra_overrides(wanted.words)[1]
    if faults := [fault for word in others if (fault := unreadable_hydra_overrides(word)) is not None]:
        raise ConfigError(faults)
    with explain_hydra_error(hydra, config, wanted.words, mode):
        settings = hydra.compose_config(config, wanted.words, mode, with_log_configuration=False)
        HydraConfig.instance().set_config(settings)
        OmegaConf.to_container(settings.hydra.sweep, resolve=True)
        return settings
