"""`ntm <command> --flag=value ...`: one thin module per command.

Each is also `python -m ntm.commands.<command>`.
"""
