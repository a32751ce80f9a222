"""Names of files that mean the same."""

import unicodedata


def composed(name: str) -> str:
    """A name in the one of Unicode's forms that has a letter and its accents as one (NFC): file systems keep two."""
    return unicodedata.normalize("NFC", name)
