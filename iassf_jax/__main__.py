"""python -m iassf_jax, and iassf-jax."""

from iassf_jax.cli.interrupts import heard


def run() -> None:
    """The command line, as a process of its own."""
    with heard():
        from iassf_jax.cli.main import main

        main()


if __name__ == "__main__":
    run()
