"""Commands that take a config: `train`, `eval`, `experiment`. Their flags, and every mistake as one line."""

import difflib
import os
import re
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from iassf_jax.errors import UserError

_ROOT = Path(__file__).parents[1]
# In a clone the configs stand beside the package, after an installation within it.
SHIPPED = next((folder for folder in (_ROOT / "configs", _ROOT.parent / "configs") if folder.is_dir()), _ROOT)


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package, e.g. "msrs" or "experiments/alpha"."""
    found = (path.relative_to(SHIPPED).with_suffix("") for path in SHIPPED.rglob("*.py"))
    return sorted(str(path) for path in found if path.name != "__init__")


def config_path(name: str) -> str:
    """The file of a config that is given as a path, or as the name of a shipped one; `:ARGUMENT` is kept.

    Raises:
        UserError: there is none.
    """
    stem, colon, argument = name.partition(":")
    for path in (Path(stem), SHIPPED / f"{stem}.py"):
        if path.is_file():
            return f"{path}{colon}{argument}"
    wanted = stem.removesuffix(".py").removeprefix("configs/")
    near = difflib.get_close_matches(wanted, shipped_configs(), 1)
    hint = f"did you mean {near[0]}?" if near else f"give a file, or one of {', '.join(shipped_configs())}"
    raise UserError(f"config {name}: there is no such file: {hint}")


def make_configs_importable(path: str) -> None:
    """Lets a config file import its neighbours as `from configs import msrs`, wherever the program runs."""
    folder = Path(path.partition(":")[0]).resolve().parent
    folder = folder.parent if folder.name == "experiments" else folder
    package = types.ModuleType("configs")
    package.__path__ = [str(folder), str(SHIPPED)]
    sys.modules["configs"] = package


def load_config(name: str) -> ConfigDict:
    """A config by its file, or by the name of a shipped one, e.g. "msrs" or "experiments/alpha:haze"; locked.

    Raises:
        UserError: there is none.
    """
    path, _, argument = config_path(name).partition(":")
    make_configs_importable(path)
    get_config = runpy.run_path(path)["get_config"]
    return get_config(argument) if argument else get_config()


class Flags:
    """The flags of one command.

    Attributes:
        values: absl's, on which the command defines its own.
        config: of `--config`; its value is a ConfigDict or None.
    """

    def __init__(self, about: str, needs_config: bool = False) -> None:
        self.about, self.needs_config = about, needs_config
        self.values = flags.FlagValues()
        self.config = config_flags.DEFINE_config_file(
            "config", None, "Config: a file, or the name of a shipped one.", flag_values=self.values
        )
        flags.DEFINE_string(
            "compilation_cache", None, "Folder of compiled programs; 'off' for none.", flag_values=self.values
        )

    def run(self, argv: Sequence[str], main: Callable[[], int | None]) -> None:
        """Parses the command line and runs `main`, which gives the exit code."""
        try:
            if any(word in ("--help", "-h", "-help") for word in argv[1:]):
                print(f"{self.about}\n\nUsage: {argv[0]} [flags]\n{self.values.get_help()}")
                code: Any = 0
            else:
                self._parse(list(argv))
                code = main()
        except UserError as error:
            code = f"error: {error}"
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # whoever read our output has left; nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        sys.exit(code)

    def config_name(self) -> str:
        """The config's file and argument, without folders: "alpha_haze" of experiments/alpha:haze."""
        path, _, argument = config_flags.get_config_filename(self.values["config"]).partition(":")
        return re.sub(r"\W+", "_", f"{Path(path).stem}_{argument}") if argument else Path(path).stem

    def _parse(self, argv: list[str]) -> None:
        argv = _with_config_path(argv)
        try:
            rest = _parsed(self.values, argv)
        except flags.Error as error:
            raise UserError(_line(error)) from None
        except Exception as error:  # a config file is the user's own code and can raise anything
            _check_overrides(argv)
            raise UserError(f"--config: {type(error).__name__}: {_line(error)}") from None
        if rest[1:]:
            raise UserError(f"unexpected argument {rest[1]!r}: settings are given as --config.FIELD=VALUE")
        config = self.config.value
        if config is None and self.needs_config:
            raise UserError("which config? Give --config, e.g. --config configs/quickstart.py")
        if config is not None and not isinstance(config, ConfigDict):
            raise UserError("--config: its get_config() must return a ConfigDict: see configs/msrs.py")


def _parsed(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """What of the arguments is no flag. Flags of configs look for their fields in `sys.argv`, whatever is parsed."""
    before, sys.argv = sys.argv, argv
    try:
        return values(argv)
    finally:
        sys.argv = before


def _with_config_path(argv: list[str]) -> list[str]:
    """The arguments, with the file of what `--config` names, before what changes its fields."""
    found = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in ("--config", "-config"):
            found.append(word)
            continue
        value = value if equals else next(words, "")
        path = config_path(value)
        make_configs_importable(path)
        found.insert(1, f"--config={path}")
    return found


def _check_overrides(argv: list[str]) -> None:
    """Raises UserError for a `--config.FIELD` that the config does not have, with the nearest one that it has.

    Says nothing of a file that is no config.
    """
    alone = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, flag_values=alone)
    try:
        _parsed(alone, [argv[0], *(word for word in argv[1:] if word.startswith("--config="))])
    except Exception:  # the file itself is no config
        return
    for word in argv[1:]:
        name = word.lstrip("-").partition("=")[0]
        if not name.startswith("config."):
            continue
        section: Any = holder.value
        for i, part in enumerate(parts := name.split(".")[1:]):
            if not isinstance(section, ConfigDict) or part not in section:
                known = list(section.keys()) if isinstance(section, ConfigDict) else []
                near = difflib.get_close_matches(part, known, 1)
                base = ".".join(["--config", *parts[:i]])
                has = f"did you mean {base}.{near[0]}?" if near else f"it has {', '.join(known) or 'no parts'}"
                raise UserError(f"--{name}: there is no {part} in {base}: {has}")
            section = section[part]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
