"""What Hydra's own runner is asked: checked before it starts, its settings looked at, its errors told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_factory.config import overrides as typed
from resnet_factory.config.composition import WHOLE, Check, compose_in
from resnet_factory.config.permission import refusals
from resnet_factory.config.repository import Base, Library, conf_dir, user_dir
from resnet_factory.config.yaml_source import load, position
from resnet_factory.errors import ConfigError, Fault, all_of, unknown


@dataclass(frozen=True)
class Request:
    """What Hydra is to do, in its own words."""

    words: list[str]
    jobs: list[list[str]] | None = None
    """The overrides of each job, in the order Hydra runs them; None where a sweeper of its own decides."""


def request(
    config: str,
    words: Sequence[str],
    config_dir: str | Path | None = None,
    *,
    multirun: bool = False,
    check: Check | None = None,
) -> Request:
    """What to type so that Hydra itself composes what `compose_all` does, what a multirun asks for checked.

    A mistake is told before the first job runs: each combination of choices is composed, and each value in
    one of them. Whether a job's layers fit together is its own matter.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    library = Library.of(user_dir(config_dir))
    words = [typed.per_stage(word) for word in words]
    own, others = typed.split(words)
    params = _params(library, config, own, others) if multirun else {}
    if params is None:
        return Request(list(words))  # another sweeper may have a grammar of its own
    swept = [param.word for param in params.values()]
    faults: list[Fault] = []
    bases: list[Mapping[str, Any]] = []
    seen = set()
    try:
        tried = typed.samples([*swept, *own], library) if multirun else [own]
    except ConfigError as error:
        raise ConfigError(_in_files(error.faults, params, own)) from None
    for overrides in tried:
        try:
            compose_in(library, config, overrides, "hydra", check=check)
            choices = typed.read(overrides, library).choices
            if (chosen := tuple(str(choice.input_line) for choice in choices)) not in seen:
                seen.add(chosen)
                bases.append(library.compose(config, choices).data)
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(_in_files(faults, params, own))
    for key, param in params.items():
        if not key.startswith(("+", "~")) and any(typed.adds(param.word, library, base) for base in bases):
            faults.append(
                Fault(
                    "",
                    f"no file has a key {key!r} that this could change; to add it, write '++{key}'",
                    param.where,
                )
            )
    if faults:
        raise ConfigError(faults)
    jobs = typed.jobs([*swept, *own], library) if multirun else None
    forced = _block_lists(bases) + typed.forced(own, library, bases, WHOLE.get(config, ()))
    # To Hydra `++key` is another key than a parameter's, which would go on being swept beside it.
    settled = [f"{key}=null" for key in params if any(word.startswith(f"++{key}=") for word in forced)]
    return Request([*others, *(word for word in settled if word not in forced), *forced], jobs)


def _block_lists(bases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Overrides before the user's own that tell Hydra of a block for each stage, which it would merge."""
    models = [base["model"] for base in bases if isinstance(base.get("model"), Mapping)]
    blocks = models[0].get("block") if len(models) == 1 else None
    if not isinstance(blocks, list):
        return []
    return ["~model.block", f"++model.block=[{','.join(map(str, blocks))}]"]


def print_jobs(
    config: str, wanted: Request, config_dir: str | Path | None, part: str, package: str | None, resolve: bool
) -> None:
    """Print the configuration of each job of a multirun, as YAML documents.

    Raises:
        ConfigError: another sweeper has the jobs, or Hydra cannot compose one.
    """
    if wanted.jobs is None:
        message = "the jobs are up to the sweeper, so their configurations cannot be printed before"
        raise ConfigError([Fault("", message, "command line '--cfg'")])
    library = Library.of(user_dir(config_dir))
    others = typed.split(wanted.words)[1]
    with _hydra(config_dir) as hydra:
        for number, job in enumerate(wanted.jobs):
            base = library.compose(config, typed.read(job, library).choices).data
            forced = typed.forced(job, library, [base], WHOLE.get(config, ()))
            words = [*others, *_block_lists([base]), *forced]
            print(*(["---"] if number else []), f"# job {number}: {' '.join(job)}", sep="\n")
            with _explained(hydra, config, words, RunMode.RUN):
                hydra.show_cfg(config, words, part, package, resolve)


class HydraJob(NamedTuple):
    """One job of a multirun, seen from inside."""

    number: int
    overrides: list[str]
    verb: str
    config_dir: str | None


def job_of_hydra() -> HydraJob:
    """The job that Hydra's runner is at, wherever a launcher has put it."""
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    task, verb = list(hydra.overrides.task), str(hydra.job.config_name)
    return HydraJob(int(hydra.job.num), task, verb, own[0] if own else None)


def sweep_folder(config: str, wanted: Request, config_dir: str | Path | None) -> Path:
    """The folder that Hydra's settings give a multirun, from wherever they come.

    Raises:
        ConfigError: there is something wrong with Hydra's own settings.
    """
    library = Library.of(user_dir(config_dir))
    with _hydra(config_dir) as hydra:
        for chosen in _choices_of_jobs(wanted, library):
            _settings(hydra, config, Request(chosen), RunMode.RUN)
        return Path(str(_settings(hydra, config, wanted, RunMode.MULTIRUN).hydra.sweep.dir))


def _choices_of_jobs(wanted: Request, library: Library) -> list[list[str]]:
    """What the jobs say of Hydra's settings and of files, where that is not the same in all: each once."""
    others = typed.split(wanted.words)[1]
    found = []
    for job in wanted.jobs or ():
        chosen = [word for word in job if library.group_exists(word.lstrip("+~").partition("=")[0])]
        if chosen not in found:
            found.append(chosen)
    return [[*chosen, *others] for chosen in found] if len(found) > 1 else []


def check_settings(config: str, wanted: Request, config_dir: str | Path | None) -> None:
    """Refuse settings of Hydra's own that it would stumble over in a single run, or that would run code.

    Raises:
        ConfigError: with the faults found.
    """
    with _hydra(config_dir) as hydra:
        _settings(hydra, config, wanted, RunMode.RUN)


def run(
    config: str, wanted: Request, folder: Path, config_dir: str | Path | None, task: Callable[[Any], None]
) -> None:
    """Let Hydra run a multirun's jobs, its own files in `folder`.

    Raises:
        ConfigError: Hydra refuses a job, or its own settings.
    """
    words = [*wanted.words, f"hydra.sweep.dir={_quoted(folder)}", "hydra.mode=MULTIRUN"]
    with (
        _hydra(config_dir) as hydra,
        _without_a_second_check(wanted),
        _explained(hydra, config, wanted.words, RunMode.MULTIRUN),
    ):
        hydra.multirun(config_name=config, task_function=task, overrides=words)


def _quoted(folder: Path) -> str:
    """A path, as Hydra's grammar wants any text."""
    text = str(folder).replace("'", r"\'")
    return f"'{text}'"


class _Loader(ConfigLoaderImpl):
    """Hydra's, which gives out no settings that would run code: of no job, wherever it is composed."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose, and look at what Hydra would make objects of.

        Raises:
            ConfigError: there are settings that would run code.
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
        """The user's files that a configuration consists of, with the keys that each goes below."""
        own = [source.path for source in self.get_sources() if source.provider == "command-line"]
        listed = self.compute_defaults_list(config_name, overrides, run_mode).defaults if own else []
        return [
            (tuple((default.package or "").split(".")) if default.package else (), file)
            for default in listed
            if (file := Path(own[0], f"{default.config_path}.yaml")).is_file()
        ]


def _origin(keys: Sequence[str], files: Sequence[tuple[tuple[str, ...], Path]], words: Sequence[str]) -> str:
    """The override or the line of a file that gives a key of Hydra's settings; the nearest above it, else."""
    for end in range(len(keys), 0, -1):
        path = ".".join(keys[:end])
        for word in reversed(words):
            key = word.lstrip("+~").partition("=")[0]
            dotted = key.replace("/", ".")
            if dotted == path or (end > 1 and dotted.startswith(f"{path}.")):
                return typed.where(word)
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
def _hydra(config_dir: str | Path | None) -> Iterator[Hydra]:
    """Hydra as its command line has it, looking at our folder, then at the user's."""
    version.setbase("1.3")
    search = create_config_search_path(conf_dir())
    if (own := user_dir(config_dir)) is not None:
        search.prepend("command-line", f"file://{own}", SearchPathQuery(provider="schema"))
    try:
        hydra = Hydra.create_main_hydra2(task_name="resnet-factory", config_search_path=search)
        hydra.config_loader = _Loader(search)
        yield hydra
    finally:
        GlobalHydra.instance().clear()


@contextmanager
def _without_a_second_check(wanted: Request) -> Iterator[None]:
    """Hydra's sweepers compose every job once before the first; of jobs checked here that is time lost."""
    before = Sweeper.validate_batch_is_legal
    if wanted.jobs is not None:
        Sweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = before  # type: ignore[method-assign]


# Parameters of a sweep, from files -------------------------------------------------------------


class _Param(NamedTuple):
    word: str
    where: str


def _params(
    library: Library, config: str, own: Sequence[str], others: Sequence[str]
) -> dict[str, _Param] | None:
    """`hydra.sweeper.params` as overrides, by key; None where another sweeper reads them."""
    found: dict[str, _Param] = {}
    single = [word for word in own if not typed.is_sweep(word, library)]
    try:
        base = library.compose(config, typed.read(single, library).choices)
    except ConfigError:
        base = Base({}, (), {})  # which is said where the jobs are composed
    for package, file in base.files:
        data = load(file) if not package else None
        if not isinstance(data, dict):
            continue
        if any("hydra/sweeper" in str(entry) for entry in data.get("defaults", [])):
            return None
        sweeper = _below(data, "hydra", "sweeper")
        if "_target_" in sweeper:
            return None
        for key, value in _below(sweeper, "params").items():
            where = position(file, ["hydra", "sweeper", "params", str(key)])
            found[str(key)] = _Param(f"{key}={value}", where)
    for word in others:
        key, _, value = word.partition("=")
        key = key.lstrip("+")
        if (key == "hydra/sweeper" and value != "basic") or key.startswith("hydra.sweeper._target_"):
            return None
        if key.startswith("hydra.sweeper.params."):
            name = key.removeprefix("hydra.sweeper.params.")
            found[name] = _Param(f"{name}={_unquoted(value)}", typed.where(word))
    return found


def _below(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _unquoted(value: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", value)
    return quoted[2] if quoted else value


def _in_files(
    faults: Sequence[Fault], params: Mapping[str, _Param] | None, own: Sequence[str]
) -> list[Fault]:
    """The same faults, those of a sweep's parameters at the line of the file that gives them."""
    typed_keys = {word.partition("=")[0] for word in own}
    result = []
    for fault in faults:
        key = re.match(r"command line '([^=']*)=", fault.where)
        param = params.get(key[1]) if key and params and key[1] not in typed_keys else None
        result.append(replace(fault, where=param.where) if param else fault)
    return result


# What Hydra says --------------------------------------------------------------------------------


def _settings(hydra: Hydra, config: str, wanted: Request, mode: RunMode) -> DictConfig:
    others = typed.split(wanted.words)[1]
    if faults := [fault for word in others if (fault := typed.unreadable(word)) is not None]:
        raise ConfigError(faults)
    with _explained(hydra, config, wanted.words, mode):
        settings = hydra.compose_config(config, wanted.words, mode, with_log_configuration=False)
        HydraConfig.instance().set_config(settings)
        OmegaConf.to_container(settings.hydra.sweep, resolve=True)
        return settings


@contextmanager
def _explained(hydra: Hydra, config: str, words: Sequence[str], mode: RunMode) -> Iterator[None]:
    """Say in a line what Hydra refuses, and where it was written."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([_fault(hydra, config, words, mode, error)]) from error


def _fault(hydra: Hydra, config: str, words: Sequence[str], mode: RunMode, error: Exception) -> Fault:
    own, others = typed.split(words)
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if (missing := re.search(r"Could not find '(hydra/[\w/]+)/([^/']+)'", text)) is not None:
        group, name = missing.groups()
        options = hydra.config_loader.get_group_options(group)
        return Fault("", unknown(group, name, options), _where(others, f"{group}={name}"))
    if (strange := re.search(r"Could not override '((hydra[\w.]*)\.([\w-]+))'", text)) is not None:
        key, above, name = strange.groups()
        groups = [word for word in others if "/" in word.partition("=")[0]]
        known = hydra.compose_config(config, [*own, *groups], mode, with_log_configuration=False)
        node = OmegaConf.select(known, above)
        keys = [str(key) for key in node if key != "_target_"] if isinstance(node, DictConfig) else []
        message = unknown("key", name, keys, f" of '{above}'")
        group = above.replace(".", "/")
        if (choice := known.hydra.runtime.choices.get(group)) is not None:
            more = [option for option in hydra.config_loader.get_group_options(group) if option != choice]
            if more:
                message += f"; this is '{group}={choice}', and there {'are' if len(more) > 1 else 'is'} "
                message += all_of(more)
        return Fault("", message, _where(others, key))
    where = _where(others, text)
    if (wrong := re.search(r"Value .* could not be converted to \w+", text)) is not None:
        text = wrong[0]
    return Fault("", text, where)


def _where(others: Sequence[str], text: str) -> str:
    """The word about Hydra's own settings whose key a text has."""
    found = [word for word in others if word.partition("=")[0].lstrip("+~") in text]
    return typed.where(found[-1]) if found else "command line '-m'"
