"""`ntm <command> --flag=value ...`: one thin program a command.

Each is also `python -m ntm.commands.<command>`.
"""
