"""`python -m nfvae` and the console script `nfvae`."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a run that failed, 2 for a mistake in what was asked."""
    try:
        from nfvae.cli import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("nfvae: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
