"""What `train.py` and `eval.py` share: flags, and errors as one line."""

import os
import sys
from collections.abc import Callable

from absl import app, flags

from iassf_jax.errors import UserError


def run(main: Callable[[], int | None], config: flags.FlagHolder) -> None:
    """Parses the command line and runs `main`; what a user can mend is one line on stderr and exit code 1.

    Args:
        main: does the work and returns the exit code.
        config: the flag of the config file, which is read here so that its errors are told.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
            if isinstance(config.value, dict):
                raise TypeError("get_config() must return a ConfigDict")
            if config.value is not None:
                config.value.to_dict()  # what stands for a missing file raises its error only now
        except flags.Error as error:
            sys.exit(f"error: {_line(error)}")
        except Exception as error:  # a config file is the user's own code and can raise anything
            sys.exit(f"error: --config: {type(error).__name__}: {_line(error)}")
        if rest[1:]:
            sys.exit(f"error: unexpected argument {rest[1]!r}: settings are given as --config.FIELD=VALUE")
        return rest

    def guarded(_: list[str]) -> int | None:
        try:
            return main()
        except UserError as error:
            return f"error: {error}"
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # whoever read our output has left; nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1

    app.run(guarded, flags_parser=parse)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
