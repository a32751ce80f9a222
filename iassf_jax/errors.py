"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input or a wrong setting; its message is one line that says what is wrong and how to mend it.

    Command lines print the message without a traceback and leave with exit code 1.
    """
